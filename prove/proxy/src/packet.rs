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
    let (_version, rest) = rest.split_first_chunk::<2>()?;
    let (correlation, rest) = rest.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let length = usize::try_from(i16::from_be_bytes(*length)).unwrap_or(0);
    Some(Head {
        api: Api::of(i16::from_be_bytes(*api)),
        correlation: i32::from_be_bytes(*correlation),
        client_id: String::from_utf8_lossy(rest.get(..length)?).into_owned(),
    })
}

/// Which request a response answers; None if it is too short to be one.
pub fn correlation(packet: &[u8]) -> Option<i32> {
    let id = packet.get(4..)?.first_chunk::<4>()?;
    Some(i32::from_be_bytes(*id))
}
