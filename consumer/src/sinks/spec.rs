//! The name of a report on the command line. Those of sinks stand in declarations too: see [`registry::model::SinkSpec`].

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A page to make, as given on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportSpec(pub PathBuf);

impl FromStr for ReportSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("html", path)) if !path.is_empty() => Ok(Self(path.into())),
            _ => Err("expected html:FILE".to_owned()),
        }
    }
}

impl fmt::Display for ReportSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "html:{}", self.0.display())
    }
}
