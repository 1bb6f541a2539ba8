//! One client's connection: two flows, each with a thread that reads and one that forwards.

use super::link::{Direction, Ended, Link, PIECE_BYTES};
use super::packet::{self, Api, Head};
use super::point::{Points, Progress, Reaction, Side, When};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Packets between the two threads of a flow: more than a client has requests under way, so that latency does not slow
/// the reading; when the link stalls, the sender's own buffers fill up as they would.
const QUEUE_PACKETS: usize = 256;

/// Between two looks at whether a connection has been closed while a packet of it is held.
const LOOK: Duration = Duration::from_millis(50);

/// The two sockets of a connection, and what is under way on it.
#[derive(Debug)]
pub struct Pair {
    client: TcpStream,
    kafka: TcpStream,
    state: Mutex<PairState>,
}

#[derive(Debug, Default)]
struct PairState {
    is_closed: bool,
    /// Requests that wait for their responses, in order; those that get none are skipped.
    pending: VecDeque<Head>,
    /// The client has been cut off; only this request's answer is still awaited.
    alone: Option<(i32, Arc<Progress>)>,
}

/// What goes through a flow's queue.
enum Item {
    /// With the head of the request, its own or the one it answers, if that is known.
    Packet(Vec<u8>, Option<Head>),
    /// The sender has closed its side.
    End,
}

impl Pair {
    pub fn new(client: TcpStream, kafka: TcpStream) -> io::Result<Self> {
        client.set_nodelay(true)?;
        kafka.set_nodelay(true)?;
        Ok(Self {
            client,
            kafka,
            state: Mutex::default(),
        })
    }

    /// Closes both sides at once.
    pub fn close(&self) {
        self.lock().is_closed = true;
        // A side that is closed already needs no closing.
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.kafka.shutdown(Shutdown::Both);
    }

    fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Closes the client's side only. The answer to the request of this id goes to `progress`, and ends the connection.
    fn leave_alone(&self, correlation: i32, progress: Arc<Progress>) {
        self.lock().alone = Some((correlation, progress));
        let _ = self.client.shutdown(Shutdown::Both);
    }

    fn is_alone(&self) -> bool {
        self.lock().alone.is_some()
    }

    fn sent(&self, head: Head) {
        self.lock().pending.push_back(head);
    }

    /// The request that is answered: Kafka answers a connection's requests in their order.
    fn answered(&self, correlation: i32) -> Option<Head> {
        let mut state = self.lock();
        let at = state
            .pending
            .iter()
            .position(|head| head.correlation == correlation)?;
        state.pending.drain(..=at).next_back()
    }

    fn lock(&self) -> MutexGuard<'_, PairState> {
        // Every update is complete before its lock is released, so a panic elsewhere leaves it consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forwards until both sides have closed. Blocks.
pub fn serve(pair: &Pair, link: &Link, points: &Points) {
    std::thread::scope(|scope| {
        for direction in [Direction::ToKafka, Direction::ToClient] {
            let (queue, waiting) = sync_channel(QUEUE_PACKETS);
            let flow = Flow {
                pair,
                link,
                points,
                direction,
            };
            scope.spawn(move || flow.read(&queue));
            scope.spawn(move || flow.forward(&waiting));
        }
    });
}

/// One direction of a connection.
#[derive(Clone, Copy)]
struct Flow<'a> {
    pair: &'a Pair,
    link: &'a Link,
    points: &'a Points,
    direction: Direction,
}

/// Nothing more is to be forwarded.
struct Over;

impl From<Ended> for Over {
    fn from(_: Ended) -> Self {
        Self
    }
}

impl Flow<'_> {
    fn side(&self) -> Side {
        match self.direction {
            Direction::ToKafka | Direction::Both => Side::Request,
            Direction::ToClient => Side::Response,
        }
    }

    fn read(&self, queue: &SyncSender<(Instant, Item)>) {
        let mut from = match self.side() {
            Side::Request => &self.pair.client,
            Side::Response => &self.pair.kafka,
        };
        // A broken connection ends as a closed one does.
        while let Ok(Some(packet)) = packet::read(&mut from) {
            let head = match self.side() {
                Side::Request => {
                    let head = packet::head(&packet);
                    if let Some(head) = &head {
                        self.pair.sent(head.clone());
                    }
                    head
                }
                Side::Response => {
                    packet::correlation(&packet).and_then(|id| self.pair.answered(id))
                }
            };
            let due = self.link.due(self.direction);
            if queue.send((due, Item::Packet(packet, head))).is_err() {
                return;
            }
        }
        // If the other thread is gone there is nobody to tell.
        let _ = queue.send((self.link.due(self.direction), Item::End));
    }

    fn forward(&self, waiting: &Receiver<(Instant, Item)>) {
        while let Ok((due, item)) = waiting.recv() {
            if self.link.wait_until(due, self.direction).is_err() || self.pair.is_closed() {
                return self.pair.close();
            }
            let done = match item {
                Item::Packet(packet, Some(head)) => match self.without_nodes(&packet, &head) {
                    Some(changed) => self.pass(&changed, &head),
                    None => self.pass(&packet, &head),
                },
                Item::Packet(packet, None) => self.write(&packet),
                Item::End => {
                    self.end();
                    Err(Over)
                }
            };
            if done.is_err() {
                return;
            }
        }
    }

    /// What is forwarded instead, while the link names no node.
    fn without_nodes(&self, packet: &[u8], head: &Head) -> Option<Vec<u8>> {
        let is_asked = self.side() == Side::Response && head.api == Api::Metadata;
        if is_asked && self.link.names_no_node() {
            packet::without_nodes(packet, head.version)
        } else {
            None
        }
    }

    /// Forwards a packet, unless a point says otherwise.
    fn pass(&self, packet: &[u8], head: &Head) -> Result<(), Over> {
        if self.side() == Side::Response && self.pair.is_alone() {
            return self.pass_alone(packet, head);
        }
        match self.points.pass(head, self.side()) {
            None | Some((Reaction::Note, _)) => self.write(packet),
            Some((Reaction::Pause, progress)) => {
                self.hold(&progress)?;
                self.write(packet)
            }
            Some((Reaction::DropConnection(When::Before), _)) => {
                self.pair.close();
                Err(Over)
            }
            Some((Reaction::DropConnection(When::After), progress)) => {
                if self.side() == Side::Request {
                    self.pair.leave_alone(head.correlation, progress);
                    self.write(packet)?;
                } else {
                    self.write(packet)?;
                    self.pair.close();
                }
                Err(Over)
            }
            Some((Reaction::HoldAlone, progress)) => {
                if self.side() == Side::Request {
                    self.pair
                        .leave_alone(head.correlation, Arc::clone(&progress));
                }
                self.hold(&progress)?;
                self.write(packet)?;
                // The client's end must not end Kafka's side before the answer is here.
                if self.side() == Side::Request {
                    Err(Over)
                } else {
                    Ok(())
                }
            }
        }
    }

    /// A response on a connection whose client has been cut off.
    fn pass_alone(&self, packet: &[u8], head: &Head) -> Result<(), Over> {
        let Some((correlation, progress)) = self.pair.lock().alone.clone() else {
            return Ok(());
        };
        if head.correlation != correlation {
            return Ok(()); // for an earlier request
        }
        progress.answer(packet.get(8..).unwrap_or_default().to_vec());
        self.pair.close();
        Err(Over)
    }

    fn hold(&self, progress: &Progress) -> Result<(), Over> {
        while !progress.wait_released(LOOK) {
            if self.pair.is_closed() {
                return Err(Over);
            }
        }
        // A cut that came meanwhile holds it as well.
        Ok(self.link.wait_until(Instant::now(), self.direction)?)
    }

    fn write(&self, packet: &[u8]) -> Result<(), Over> {
        let mut to = match self.side() {
            Side::Request => &self.pair.kafka,
            Side::Response => &self.pair.client,
        };
        for piece in packet.chunks(PIECE_BYTES) {
            self.link.take_turn(piece.len(), self.direction)?;
            if to.write_all(piece).is_err() {
                // The receiver has gone; its own flow says so. What it will not see is still to be taken in.
                return Ok(());
            }
        }
        Ok(())
    }

    /// Tells the receiver that nothing more comes, as the sender did.
    fn end(&self) {
        let to = match self.side() {
            Side::Request => &self.pair.kafka,
            Side::Response => &self.pair.client,
        };
        // A receiver that has gone needs no word.
        let _ = to.shutdown(Shutdown::Write);
    }
}
