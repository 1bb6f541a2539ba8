//! Frame ids that no sane source would give: how a consumer follows and restores their order.
//!
//! Input: four bytes a record: what it is, its epoch, its sequence, its count.

use consumer::order::{OrderCheck, Verdict};
use consumer::reorder::{ReorderBounds, ReorderWindow};
use consumer::span::Span;
use pipeline::envelope::Kind;
use pipeline::v1::{EndOfStream, Frame, FrameId, Gap, frame::Content, gap};
use std::time::{Duration, Instant};

/// More than fill the window several times over show nothing new.
const MAX_RECORDS: usize = 100;

/// Any order of any ids is counted, and what goes into the window comes out of it, each record once.
pub fn run(data: &[u8]) {
    let bounds = ReorderBounds {
        records: 8,
        wait: Duration::from_secs(1),
    };
    let mut window = ReorderWindow::new(bounds, &[]);
    let mut check = OrderCheck::default();
    let mut total = Verdict::default();
    let now = Instant::now();
    let mut released = Vec::new();
    let mut taken = 0_usize;
    let records = data.chunks_exact(4).take(MAX_RECORDS);
    let spans = records.filter_map(|bytes| {
        let kind = message(bytes);
        kind.check().ok().and_then(|()| Span::of(&kind))
    });
    for span in spans {
        assert!(span.end() >= span.first);
        total.add(check.observe(&span));
        released.extend(window.insert(&span, taken, now).items);
        taken += 1;
    }
    released.extend(window.flush().items);
    released.sort_unstable();
    assert!(released.iter().copied().eq(0..taken), "{released:?}");
    assert!(window.is_empty());
    assert!(total.missing() <= total.lost);
}

fn message(bytes: &[u8]) -> Kind {
    let [what, epoch, sequence, count] = [bytes[0], bytes[1], bytes[2], bytes[3]];
    let near_end = |bit: u8, number: u8| match what & bit {
        0 => u64::from(number),
        _ => u64::MAX - u64::from(number),
    };
    let source = if what & 1 == 0 { "a" } else { "b" };
    let id = FrameId::new(source, near_end(8, epoch), near_end(16, sequence));
    match what >> 1 & 3 {
        0 | 1 => Kind::Frame(Frame {
            id: Some(id),
            content: Some(Content::Missing(Default::default())),
            ..Frame::default()
        }),
        2 => Kind::Gap(Gap {
            first: Some(id),
            count: near_end(32, count),
            reason: gap::Reason::Overload.into(),
            ..Gap::default()
        }),
        _ => Kind::End(EndOfStream {
            last: Some(id),
            empty: count == 0,
            ..EndOfStream::default()
        }),
    }
}
