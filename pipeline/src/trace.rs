//! W3C trace context (<https://www.w3.org/TR/trace-context/>): one trace per frame, one span per stage.

use std::fmt;
use std::str::FromStr;

/// The `traceparent` of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    flags: u8,
}

impl TraceContext {
    /// The name of the Kafka header and of the gRPC metadata key.
    pub const HEADER: &'static str = "traceparent";

    /// A new trace.
    pub fn root() -> Self {
        Self {
            trace_id: rand::random::<u128>().max(1), // all zeroes means "invalid"
            span_id: rand::random::<u64>().max(1),
            flags: 1, // sampled
        }
    }

    /// The next span of the same trace.
    pub fn child(&self) -> Self {
        Self {
            span_id: rand::random::<u64>().max(1),
            ..*self
        }
    }

    /// Continues the trace in a header's text, or begins one if there is none that is valid.
    pub fn continue_from(header: Option<&str>) -> Self {
        header
            .and_then(|text| text.parse::<Self>().ok())
            .map_or_else(Self::root, |parent| parent.child())
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            trace_id,
            span_id,
            flags,
        } = self;
        write!(f, "00-{trace_id:032x}-{span_id:016x}-{flags:02x}")
    }
}

/// The text is not a version 00 traceparent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a W3C traceparent")]
pub struct BadTraceParent;

impl FromStr for TraceContext {
    type Err = BadTraceParent;

    fn from_str(text: &str) -> Result<Self, BadTraceParent> {
        let parts: Vec<&str> = text.split('-').collect();
        let [version, trace_id, span_id, flags] = parts[..] else {
            return Err(BadTraceParent);
        };
        let is_hex = |text: &str, digits: usize| {
            // Not only what a number may be read from: that could also be a sign, or capitals.
            text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let are_hex = is_hex(trace_id, 32) && is_hex(span_id, 16) && is_hex(flags, 2);
        if version != "00" || !are_hex {
            return Err(BadTraceParent);
        }
        let context = Self {
            trace_id: u128::from_str_radix(trace_id, 16).map_err(|_| BadTraceParent)?,
            span_id: u64::from_str_radix(span_id, 16).map_err(|_| BadTraceParent)?,
            flags: u8::from_str_radix(flags, 16).map_err(|_| BadTraceParent)?,
        };
        if context.trace_id == 0 || context.span_id == 0 {
            return Err(BadTraceParent);
        }
        Ok(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_goes_on_with_new_spans() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parent: TraceContext = text.parse().expect("the standard's own example");
        assert_eq!(parent.to_string(), text);
        let child = TraceContext::continue_from(Some(text));
        assert_eq!(child.trace_id, parent.trace_id);
        assert_ne!(child.span_id, parent.span_id);
    }

    #[test]
    fn anything_else_begins_a_new_trace() {
        for bad in [
            "",
            "00-1-2-3",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(bad.parse::<TraceContext>(), Err(BadTraceParent));
        }
        assert_ne!(
            TraceContext::continue_from(Some("x")),
            TraceContext::continue_from(None)
        );
    }
}
