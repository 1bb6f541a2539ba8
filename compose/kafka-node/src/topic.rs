//! Makes, changes and deletes topics, for those who have no Kafka client at hand.

use std::io;

use crate::error::Error;
use crate::settings::MESSAGE_MAX_BYTES;
use crate::wire::{self, Api, put_text};
use crate::{Kafka, wait};

/// CreateTopics. Version 4 is the first that takes "as many copies as the cluster says", the last without compact fields.
const CREATE_TOPICS: Api = Api {
    key: 19,
    version: 4,
};
const ALREADY_EXISTS: i16 = 36;
const DELETE_TOPICS: Api = Api {
    key: 20,
    version: 3,
};
const CREATE_PARTITIONS: Api = Api {
    key: 37,
    version: 1,
};
/// What the server may take, milliseconds; below our own limit for an answer.
const TIMEOUT_MS: i32 = 10_000;

impl Kafka {
    /// Makes a topic for frames (records of up to 8 MiB) with one partition, and as many copies as the cluster's default
    /// says. A topic of that name that is there already is left as it is.
    ///
    /// # Errors
    /// [`Error::Topic`] with the server's reason.
    pub fn create_topic(&self, name: &str) -> Result<(), Error> {
        change(self.bootstrap_servers(), name, CREATE_TOPICS, &body(name))
    }
}

/// Deletes a topic with all that is in it.
///
/// # Errors
/// [`Error::Topic`] with the server's reason, also if there is no such topic.
pub fn delete_topic(bootstrap_servers: &str, name: &str) -> Result<(), Error> {
    let mut body = Vec::new();
    body.extend(1_i32.to_be_bytes());
    put_text(&mut body, name);
    body.extend(TIMEOUT_MS.to_be_bytes());
    change(bootstrap_servers, name, DELETE_TOPICS, &body)
}

/// Raises a topic's number of partitions.
///
/// # Errors
/// [`Error::Topic`] with the server's reason, also if it has as many or more.
pub fn grow_topic(bootstrap_servers: &str, name: &str, partitions: i32) -> Result<(), Error> {
    let mut body = Vec::new();
    body.extend(1_i32.to_be_bytes());
    put_text(&mut body, name);
    body.extend(partitions.to_be_bytes());
    body.extend((-1_i32).to_be_bytes()); // anywhere
    body.extend(TIMEOUT_MS.to_be_bytes());
    body.push(0); // not just a check
    change(bootstrap_servers, name, CREATE_PARTITIONS, &body)
}

/// Asks the first server of the list.
fn change(bootstrap_servers: &str, name: &str, api: Api, body: &[u8]) -> Result<(), Error> {
    let first = bootstrap_servers
        .split(',')
        .map(str::trim)
        .find(|address| !address.is_empty());
    wire::ask(first.unwrap_or_default(), api, body, wait::QUESTION_LIMIT)
        .and_then(|answer| check(&answer))
        .map_err(|source| Error::Topic {
            name: name.to_owned(),
            source,
        })
}

/// One topic: its name, partitions, copies, where they lie (anywhere), settings. Then the time limit, and "do it".
fn body(name: &str) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(1_i32.to_be_bytes());
    put_text(&mut body, name);
    body.extend(1_i32.to_be_bytes());
    body.extend((-1_i16).to_be_bytes());
    body.extend(0_i32.to_be_bytes());
    body.extend(1_i32.to_be_bytes());
    put_text(&mut body, "max.message.bytes");
    put_text(&mut body, MESSAGE_MAX_BYTES);
    body.extend(TIMEOUT_MS.to_be_bytes());
    body.push(0);
    body
}

/// The answer: throttle time, number of topics (one), its name, the error code, the reason.
fn check(answer: &[u8]) -> io::Result<()> {
    let rest = answer.get(8..).ok_or_else(wire::not_kafka)?;
    let (_name, rest) = take_text(rest)?;
    let (code, rest) = rest.split_first_chunk::<2>().ok_or_else(wire::not_kafka)?;
    match i16::from_be_bytes(*code) {
        0 | ALREADY_EXISTS => Ok(()),
        code => {
            let reason = take_text(rest)
                .map(|(reason, _)| reason)
                .unwrap_or_default();
            Err(io::Error::other(format!("error code {code}: {reason}")))
        }
    }
}

/// A text with its length in front (-1: none), and what follows it.
fn take_text(bytes: &[u8]) -> io::Result<(String, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>().ok_or_else(wire::not_kafka)?;
    let length = usize::try_from(i16::from_be_bytes(*length)).unwrap_or(0);
    let (text, rest) = rest.split_at_checked(length).ok_or_else(wire::not_kafka)?;
    Ok((String::from_utf8_lossy(text).into_owned(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_carries_the_servers_reason() {
        let mut answer = vec![0, 0, 0, 0, 0, 0, 0, 1];
        put_text(&mut answer, "t");
        answer.extend(17_i16.to_be_bytes());
        put_text(&mut answer, "not a good name");
        assert_eq!(
            check(&answer).unwrap_err().to_string(),
            "error code 17: not a good name"
        );
        assert!(check(&answer[..9]).is_err());
    }
}
