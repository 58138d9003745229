//! Probes, and ports by number or name (pkg/apis/core/v1/defaults.go, validateProbe and ValidatePortNumOrName in
//! pkg/apis/core/validation/validation.go).

use super::names::{self, go_string};
use super::reader::{Field, Reader};
use super::schema::{Scalar, scalar};
use crate::cluster::object::{PortRef, Probe, ProbeKind};

/// Seconds from one probe to the next, by default.
const DEFAULT_PERIOD_S: u32 = 10;
/// Seconds for an answer, by default.
const DEFAULT_TIMEOUT_S: u32 = 1;
/// What makes a container ready, and not ready, by default.
const DEFAULT_SUCCESSES: u32 = 1;
const DEFAULT_FAILURES: u32 = 3;
/// What a probe may ask with.
const HANDLERS: [&str; 4] = ["exec", "grpc", "httpGet", "tcpSocket"];
const SCHEMES: [(&str, bool); 2] = [("HTTP", true), ("HTTPS", false)];

/// What a probe is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Readiness,
    Liveness,
}

/// Reads a probe, if there is one.
pub(super) fn probe(reader: &mut Reader<'_>, field: &Field<'_>, used_for: Use) -> Option<Probe> {
    field.node?;
    let handlers = HANDLERS.iter().map(|name| (*name, field.child(name)));
    let handlers: Vec<_> = handlers.filter(|(_, handler)| handler.node.is_some()).collect();
    if let Some((_, second)) = handlers.get(1) {
        reader.forbidden(second, "may not specify more than 1 handler type");
    }
    let Some((name, handler)) = handlers.first() else {
        reader.required(field, "must specify a handler type");
        return None;
    };
    // Zero is the default.
    let mut seconds = |name: &str, default: u32| match reader.non_negative(&field.child(name), default) {
        0 => default,
        seconds => seconds,
    };
    let probe = Probe {
        initial_delay_s: seconds("initialDelaySeconds", 0),
        period_s: seconds("periodSeconds", DEFAULT_PERIOD_S),
        timeout_s: seconds("timeoutSeconds", DEFAULT_TIMEOUT_S),
        success_threshold: seconds("successThreshold", DEFAULT_SUCCESSES),
        failure_threshold: seconds("failureThreshold", DEFAULT_FAILURES),
        how: how(reader, name, handler)?,
    };
    if used_for == Use::Liveness && probe.success_threshold != 1 {
        reader.invalid(&field.child("successThreshold"), probe.success_threshold, "must be 1");
    }
    Some(probe)
}

fn how(reader: &mut Reader<'_>, name: &str, handler: &Field<'_>) -> Option<ProbeKind> {
    match name {
        "httpGet" => http_get(reader, handler),
        "tcpSocket" => Some(ProbeKind::TcpSocket { port: port_ref(reader, &handler.child("port"))? }),
        _ => Some(ProbeKind::Other),
    }
}

fn http_get(reader: &mut Reader<'_>, handler: &Field<'_>) -> Option<ProbeKind> {
    let is_http = reader.one_of(&handler.child("scheme"), &SCHEMES, true);
    let port = port_ref(reader, &handler.child("port"))?;
    let host = reader.string(&handler.child("host")).map(str::to_owned);
    let path = reader.string(&handler.child("path")).unwrap_or("/").to_owned();
    Some(if is_http { ProbeKind::HttpGet { path, port, host } } else { ProbeKind::Other })
}

/// Reads a port by its number or name. Without it, zero is what the API server complains about.
pub(super) fn port_ref(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<PortRef> {
    reader.note(field);
    let number = match field.node.map(scalar) {
        None => 0,
        Some(Scalar::Integer(number)) => i64::try_from(number).unwrap_or(i64::MAX),
        Some(Scalar::String) => {
            let name = field.text().unwrap_or_default();
            reader.check(field, go_string(name), names::port_name(name));
            return Some(PortRef::Name(name.to_owned()));
        }
        Some(_) => return None,
    };
    reader.check(field, number, names::port_number(number));
    u16::try_from(number).ok().map(PortRef::Number)
}
