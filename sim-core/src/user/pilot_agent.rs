//! `pilot-agent proxy sidecar`: what the container istio-proxy runs. It reads what the proxy starts with from
//! [`BOOTSTRAP`] and becomes it ([`super::envoy`]).
//!
//! Differs: pilot-agent and Envoy are one process.

use super::envoy::Envoy;
use super::envoy::config::Bootstrap;
use super::istiod::BOOTSTRAP;
use crate::base::files::Found;
use crate::base::words::{SyntaxError, Word};
use crate::engine::process::{Env, Program};
use crate::kernel::syscall::{Call, Ret};

/// The file is no longer.
const MAX_FILE: usize = 1 << 20;

/// pilot-agent.
#[derive(Clone, Debug, Default)]
pub struct PilotAgent {
    /// None before it has started.
    envoy: Option<Box<Envoy>>,
}

/// Reads the words behind the name.
pub(super) fn parse(name: &Word, words: &[Word]) -> Result<PilotAgent, SyntaxError> {
    match words {
        // Its flags tell it what stands in the file, too.
        [proxy, sidecar, ..] if proxy.text == "proxy" && sidecar.text == "sidecar" => Ok(PilotAgent::default()),
        _ => {
            Err(SyntaxError::at(name, "pilot-agent: only a sidecar is simulated")
                .hint("write `pilot-agent proxy sidecar`"))
        }
    }
}

/// None without the file.
fn bootstrap(env: &Env<'_>) -> Result<Option<Bootstrap>, String> {
    let Found::File(file) = env.files.find(BOOTSTRAP) else { return Ok(None) };
    serde_json::from_slice(&file.read(0, MAX_FILE)).map(Some).map_err(|e| format!("{BOOTSTRAP}: {e}"))
}

impl Program for PilotAgent {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        if let Some(envoy) = &mut self.envoy {
            return envoy.step(ret, env);
        }
        match bootstrap(env) {
            Ok(Some(bootstrap)) => self.envoy.insert(Box::new(Envoy::new(bootstrap))).step(ret, env),
            // There is no istiod: it waits for one.
            Ok(None) => Call::Poll { fds: vec![], timeout_ns: None },
            Err(why) => {
                env.console.err(format!("Error: failed to create XDS proxy: {why}\n"));
                Call::Exit(1)
            }
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }

    fn config_dump(&self) -> Option<String> {
        serde_json::to_string(self.envoy.as_ref()?.config()?).ok()
    }
}
