use super::*;
use crate::board::Board;
use crate::targets;
use bytes::Bytes;
use processor_proto::v1::{FrameId, Picture};

/// Markers only: whole, and no picture to anybody who decodes it.
const JPEG: &[u8] = &[0xFF, 0xD8, 0xFF, 0xD9];

async fn client(target: Option<Target>) -> Client {
    let nobody = targets::Target::plain(([127, 0, 0, 1], 1).into());
    let directory = Arc::new(Directory::open(vec![nobody]).await.unwrap());
    let patience = Duration::from_secs(1);
    let board = Arc::new(Board::new(1, 0, |_| Duration::ZERO));
    let outages = Arc::new(Outages::new(patience, board));
    Client::new(directory, outages, target, patience, 4)
}

fn frame() -> v1::Frame {
    v1::Frame {
        id: Some(FrameId::new("vid-instance1", 1, 7)),
        width: 100,
        height: 60,
        ..v1::Frame::default()
    }
}

fn answer() -> ProcessResponse {
    ProcessResponse {
        id: frame().id,
        picture: Some(Picture {
            codec: Codec::Jpeg.into(),
            width: 50,
            height: 30,
            content: Bytes::from_static(JPEG),
            ..Picture::default()
        }),
        ..ProcessResponse::default()
    }
}

#[tokio::test]
async fn an_answer_is_taken_if_it_is_what_was_asked_for() {
    let half = client(Some(Target::Scale(0.5))).await;
    assert!(half.check(&frame(), answer()).is_ok());
    // Whoever asks for nothing takes what the service makes.
    let any = client(None).await;
    assert!(any.check(&frame(), answer()).is_ok());
}

#[tokio::test]
async fn a_service_that_takes_no_wishes_is_found_out() {
    let third = client(Some(Target::Scale(0.3))).await;
    let Err(Failure::Refused(why)) = third.check(&frame(), answer()) else {
        panic!("it has another size")
    };
    for word in ["50x30", "30x18", "takes no wishes", "--size"] {
        assert!(why.contains(word), "no {word:?} in {why}");
    }
}

#[tokio::test]
async fn answers_of_another_frame_torn_ones_and_none_are_no_pictures() {
    let client = client(None).await;
    let mut other = answer();
    other.id = Some(FrameId::new("vid-instance1", 1, 8));
    assert!(matches!(
        client.check(&frame(), other),
        Err(Failure::Failed(_))
    ));
    let mut torn = answer();
    torn.picture = torn.picture.map(|picture| Picture {
        content: picture.content.slice(..3),
        ..picture
    });
    assert!(matches!(
        client.check(&frame(), torn),
        Err(Failure::Failed(_))
    ));
    let mut none = answer();
    none.picture = None;
    assert!(matches!(
        client.check(&frame(), none),
        Err(Failure::Refused(_))
    ));
}
