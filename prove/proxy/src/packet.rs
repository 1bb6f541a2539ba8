//! Kafka's framing: as much of requests and responses as it takes to recognise them.
//!
//! ```text
//! request:   size i32, api key i16, version i16, correlation id i32, client id (i16 length, -1: none), ...
//! response:  size i32, correlation id i32, ...
//! ```

use std::io::{self, Read};

/// Kafka's own bound (`socket.request.max.bytes`) and the largest fetch of our clients lie below.
const LARGEST_BYTES: usize = 128 << 20;

/// A kind of request, by its name in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Api {
    Produce,
    Fetch,
    ListOffsets,
    Metadata,
    OffsetCommit,
    OffsetFetch,
    FindCoordinator,
    JoinGroup,
    Heartbeat,
    LeaveGroup,
    SyncGroup,
    ApiVersions,
    InitProducerId,
    AddPartitionsToTxn,
    AddOffsetsToTxn,
    EndTxn,
    TxnOffsetCommit,
    /// Any other, by its key.
    Other(i16),
}

impl Api {
    fn of(key: i16) -> Self {
        match key {
            0 => Self::Produce,
            1 => Self::Fetch,
            2 => Self::ListOffsets,
            3 => Self::Metadata,
            8 => Self::OffsetCommit,
            9 => Self::OffsetFetch,
            10 => Self::FindCoordinator,
            11 => Self::JoinGroup,
            12 => Self::Heartbeat,
            13 => Self::LeaveGroup,
            14 => Self::SyncGroup,
            18 => Self::ApiVersions,
            22 => Self::InitProducerId,
            24 => Self::AddPartitionsToTxn,
            25 => Self::AddOffsetsToTxn,
            26 => Self::EndTxn,
            28 => Self::TxnOffsetCommit,
            other => Self::Other(other),
        }
    }
}

/// What the head of a request says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub api: Api,
    pub version: i16,
    pub correlation: i32,
    pub client_id: String,
}

/// Reads one packet, its size included. None: the other side has closed, or speaks something else.
pub fn read(stream: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut size = [0; 4];
    match stream.read_exact(&mut size) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let length = usize::try_from(i32::from_be_bytes(size)).unwrap_or(usize::MAX);
    if length > LARGEST_BYTES {
        return Ok(None);
    }
    let mut packet = vec![0; 4 + length];
    packet[..4].copy_from_slice(&size);
    stream.read_exact(&mut packet[4..])?;
    Ok(Some(packet))
}

/// The head of a request; None if it is too short to be one.
pub fn head(packet: &[u8]) -> Option<Head> {
    let (api, rest) = packet.get(4..)?.split_first_chunk::<2>()?;
    let (version, rest) = rest.split_first_chunk::<2>()?;
    let (correlation, rest) = rest.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let length = usize::try_from(i16::from_be_bytes(*length)).unwrap_or(0);
    Some(Head {
        api: Api::of(i16::from_be_bytes(*api)),
        version: i16::from_be_bytes(*version),
        correlation: i32::from_be_bytes(*correlation),
        client_id: String::from_utf8_lossy(rest.get(..length)?).into_owned(),
    })
}

/// Which request a response answers; None if it is too short to be one.
pub fn correlation(packet: &[u8]) -> Option<i32> {
    let id = packet.get(4..)?.first_chunk::<4>()?;
    Some(i32::from_be_bytes(*id))
}

/// From here on Metadata is "flexible": texts and lists have their length plus one in front, in 7 bits a byte.
const FLEXIBLE_METADATA: i16 = 9;

/// A response to Metadata that names no node. None if it is of another form than
///
/// ```text
/// size i32, correlation id i32, tags, throttle time i32, nodes: [id i32, host, port i32, rack, tags], ...
/// ```
/// with lengths below 127.
pub fn without_nodes(packet: &[u8], version: i16) -> Option<Vec<u8>> {
    const BEFORE_NODES: usize = 4 + 4 + 1 + 4;
    if version < FLEXIBLE_METADATA {
        return None;
    }
    let (before, nodes) = packet.split_at_checked(BEFORE_NODES)?;
    let (count, mut rest) = after_length(nodes)?;
    for _ in 0..count {
        let host = after_text(rest.get(4..)?)?;
        let rack = after_text(host.get(4..)?)?;
        rest = rack.strip_prefix(&[0])?; // no tags
    }
    let without = [before, &[1], rest].concat();
    let size = i32::try_from(without.len() - 4).ok()?.to_be_bytes();
    Some([&size, &without[4..]].concat())
}

/// A length of one byte, and what comes behind it.
fn after_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let fits = *length < 128;
    fits.then(|| (usize::from(*length).saturating_sub(1), rest))
}

fn after_text(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = after_length(bytes)?;
    rest.get(length..)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A response of Metadata 12 with these nodes, and a tail that stands for all that follows them.
    fn response(nodes: &[u8]) -> Vec<u8> {
        let before = [0, 0, 0, 7, 0, 0, 0, 0, 0]; // correlation id, no tags, throttle time
        let body = [&before, nodes, b"tail"].concat();
        let size = i32::try_from(body.len()).unwrap_or_default().to_be_bytes();
        [&size[..], &body].concat()
    }

    #[test]
    fn nodes_are_left_out_and_all_else_stays() {
        let node = |id: u8, rack: &'static [u8]| {
            [&[0, 0, 0, id, 5][..], b"host", &[0, 0, 35, 132], rack, &[0]].concat()
        };
        let two = [&[3][..], &node(1, &[0]), &node(2, b"\x03r1")].concat();
        let none = Some(response(&[1]));
        assert_eq!(without_nodes(&response(&two), 12), none);
        assert_eq!(without_nodes(&response(&[1]), 12), none);
    }

    #[test]
    fn other_forms_are_left_alone() {
        assert_eq!(without_nodes(&response(&[1]), 8), None);
        assert_eq!(without_nodes(&response(&[2, 0, 0]), 12), None);
        assert_eq!(without_nodes(&[], 12), None);
    }
}
