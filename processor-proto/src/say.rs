use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// Writes a line for people to stderr. Whoever read it may have gone (`... 2>&1 | head`): that ends no work, as `eprintln!`
/// would.
pub fn say(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes a result to stdout. That nobody reads on (`... | head`) is no error.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(cause) if cause.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
