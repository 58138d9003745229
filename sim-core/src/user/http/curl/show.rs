//! What curl prints (src/tool_cb_dbg.c, src/tool_operate.c).

use super::options::Options;
use super::write_out::{self, Facts, Piece};
use super::{Connection, Transfer};
use crate::engine::process::Console;

/// Where curl would keep what it knows about a host: an address in its heap, which it prints.
const BUNDLE: &str = "0x55d05f8a8cb0";

/// A method that -X need not give, or should not.
pub(super) fn method(o: &Options, console: &mut Console) {
    let inferred = match (o.head, o.data.is_some()) {
        (true, _) => "HEAD",
        (false, true) => "POST",
        (false, false) => "GET",
    };
    match o.method.as_deref() {
        Some(method) if method == inferred && o.verbose => {
            console.err(format!("Note: Unnecessary use of -X or --request, {method} is already inferred.\n"));
        }
        Some("HEAD") if !o.head && !o.silent => {
            console.err(
                "Warning: Setting custom HTTP method to HEAD with -X/--request may not work the \n\
                 Warning: way you want. Consider using -I/--head instead.\n",
            );
        }
        _ => {}
    }
}

pub(super) fn reused(o: &Options, c: &Connection, console: &mut Console) {
    if o.verbose {
        console.err(format!(
            "* Found bundle for host: {BUNDLE} [serially]\n* Can not multiplex, even if we wanted to\n\
             * Re-using existing connection #{} with host {}\n",
            c.number, c.host
        ));
    }
}

pub(super) fn connected(o: &Options, c: &Connection, console: &mut Console) {
    if o.verbose {
        let ip = c.addr.ip();
        console.err(format!("* Connected to {} ({ip}) port {} (#{})\n", c.host, c.port, c.number));
    }
}

pub(super) fn request(o: &Options, discard: bool, head: &str, data: usize, console: &mut Console) {
    if o.verbose {
        console.err(marked('>', head));
        // On a terminal, the data speak for themselves.
        if data > 0 && discard {
            console.err(format!("}} [{data} bytes data]\n"));
        }
    }
}

/// A head has come.
pub(super) fn head(o: &Options, t: &Transfer, head: &str, console: &mut Console) {
    if o.verbose {
        if t.response.minor == 0 {
            console.err("* HTTP 1.0, assume close after body\n");
        }
        console.err(marked('<', head));
    }
    if (o.include || o.head) && !t.discard {
        console.out(head);
    }
}

/// Some of a body has come; `shown` is whether that was said of these bytes.
pub(super) fn body(o: &Options, discard: bool, body: &[u8], shown: &mut bool, console: &mut Console) {
    if discard && o.verbose && !*shown {
        console.err(format!("{{ [{} bytes data]\n", body.len()));
        *shown = true;
    }
    if !discard {
        console.out(String::from_utf8_lossy(body));
    }
}

/// A transfer is over.
pub(super) fn end(o: &Options, facts: &Facts, console: &mut Console) {
    if facts.exit != 0 && (!o.silent || o.show_error) {
        console.err(format!("curl: ({}) {}\n", facts.exit, facts.error));
    }
    let Some(format) = &o.write_out else { return };
    for piece in write_out::write(format, facts) {
        match piece {
            Piece::Out(text) => console.out(text),
            Piece::Err(text) => console.err(text),
        }
    }
}

/// Each line with a mark before it.
fn marked(mark: char, text: &str) -> String {
    text.lines().map(|line| format!("{mark} {line}\n")).collect()
}
