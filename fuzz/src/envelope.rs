//! A record's value.

use bytes::Bytes;
use processor_proto::envelope::{self, Kind};

/// Nothing said of a record is longer: it goes into logs, results and Gap records.
const MAX_ERROR_BYTES: usize = 4096;

/// What was let in can be written and read again, and stays what it was.
pub fn run(data: &[u8]) {
    let kind = match envelope::decode(Bytes::copy_from_slice(data)) {
        Ok(kind) => kind,
        Err(error) => {
            let said = error.to_string().len();
            assert!(said <= MAX_ERROR_BYTES, "an error of {said} bytes");
            return;
        }
    };
    kind.check().expect("what was decoded is valid");
    check_id(&kind);
    let written = envelope::encode(&kind);
    let again = envelope::decode(written.clone()).expect("what was written can be read");
    // By their bytes: a NaN is not equal to itself.
    assert_eq!(envelope::encode(&again), written, "{kind:?}");
}

fn check_id(kind: &Kind) {
    match (kind, kind.id()) {
        (Kind::Gap(_), None) => {}
        (_, None) => panic!("a {} without an id", kind.word()),
        (Kind::Gap(_), Some(_)) => {}
        (_, Some(id)) => assert!(
            envelope::is_source_id(&id.source_id) && id.epoch > 0,
            "{id}"
        ),
    }
}
