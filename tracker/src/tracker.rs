//! The tracker of one epoch of one source.

use crate::assignment::best_pairs;
use crate::bounds::Bounds;
use crate::track::Track;

/// Detections of at least this confidence begin tracks and are matched first. (ByteTrack's value.)
const STRONG: f32 = 0.5;
/// Weaker ones only continue a track that was seen in the frame before; below this they are ignored. (ByteTrack's value.)
const WEAK: f32 = 0.1;
/// An object gets its id when it was seen in this many frames in a row: false alarms rarely repeat. (SORT's value.)
const HITS_TO_BELIEVE: u32 = 3;
/// An object that was not seen for this many frames is forgotten: two seconds of a camera. ByteTrack has 30; in the
/// scenes of the example `quality` IDF1 is higher by a tenth and ids switch less often with twice that.
pub const MAX_UNSEEN_FRAMES: u32 = 60;

/// Least overlap of a strong detection with the place where an object should be. (ByteTrack's value.)
const OVERLAP_STRONG: f64 = 0.2;
/// Weak detections must fit better. (ByteTrack's value.)
const OVERLAP_WEAK: f64 = 0.5;
/// An object that is not believed yet must fit better too. (ByteTrack's value.)
const OVERLAP_NEW: f64 = 0.3;

/// The work grows with the third power of this. More objects than this in one picture are no longer told apart by
/// their boxes; the strongest are followed.
const MAX_DETECTIONS: usize = 256;
/// Bounds the state: objects that are there, or were until a moment ago.
const MAX_TRACKS: usize = 2 * MAX_DETECTIONS;

/// One thing seen in a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection<'a> {
    /// What it is.
    pub label: &'a str,
    /// 0 to 1; 0 if the detector gives none, which counts as strong.
    pub confidence: f32,
    /// Where it is.
    pub bounds: Bounds,
}

impl Detection<'_> {
    fn is_strong(&self) -> bool {
        self.confidence == 0.0 || self.confidence >= STRONG
    }

    fn is_weak(&self) -> bool {
        !self.is_strong() && self.confidence >= WEAK
    }
}

/// What is known of one epoch of one source: see the crate's documentation.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Tracker {
    /// The sequence number expected next; everything before it is over.
    #[prost(uint64, tag = "1")]
    next_sequence: u64,
    /// The sequence number behind the last frame that was looked at.
    #[prost(uint64, tag = "2")]
    looked_to: u64,
    /// The last id given away.
    #[prost(uint64, tag = "3")]
    last_id: u64,
    /// In the order in which they began.
    #[prost(message, repeated, tag = "4")]
    tracks: Vec<Track>,
}

impl Tracker {
    /// True if a frame of this sequence comes too late: it, or one behind it, was there before.
    pub fn is_late(&self, sequence: u64) -> bool {
        sequence < self.next_sequence
    }

    /// Everything that is followed at present, in the order in which it began; what is not believed yet too.
    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// Takes a frame in. Returns the track id of each detection, in their order: None for what belongs to no object that
    /// is believed. A late frame changes nothing and has no ids.
    pub fn observe(&mut self, sequence: u64, detections: &[Detection<'_>]) -> Vec<Option<u64>> {
        if self.is_late(sequence) {
            return vec![None; detections.len()];
        }
        self.advance_to(sequence.saturating_add(1));
        let usable = usable(detections);
        let mut matching = Matching::new(detections, self.tracks.len());
        self.match_in_stages(&mut matching, &usable);
        for (detection, track) in matching.pairs() {
            self.tracks[track].update(&detections[detection].bounds);
        }
        self.begin_tracks(&mut matching, &usable);
        self.believe();
        let id_of = |track: &Option<usize>| {
            let id = self.tracks[(*track)?].id;
            (id > 0).then_some(id)
        };
        let ids = matching.track_of.iter().map(id_of).collect();
        self.tracks
            .retain(|track| track.unseen == 0 || track.is_confirmed());
        self.looked_to = self.next_sequence;
        ids
    }

    /// Frames up to but excluding this sequence pass without a look: they are missing, or their detector failed.
    pub fn coast_to(&mut self, sequence: u64) {
        if !self.is_late(sequence) {
            self.advance_to(sequence);
        }
    }

    /// Moves every track on, and forgets those that were not seen for too long.
    fn advance_to(&mut self, sequence: u64) {
        let frames = sequence - self.next_sequence;
        self.next_sequence = sequence;
        // All of them are forgotten after that many: a gap of any length costs no more.
        for _ in 0..frames.min(u64::from(MAX_UNSEEN_FRAMES) + 1) {
            self.tracks.iter_mut().for_each(Track::predict);
        }
        // In the frame that is looked at now, `unseen` already counts this frame.
        self.tracks
            .retain(|track| track.unseen <= MAX_UNSEEN_FRAMES);
    }

    fn match_in_stages(&self, matching: &mut Matching<'_>, usable: &[usize]) {
        let of = |is_wanted: &dyn Fn(&Track) -> bool| -> Vec<usize> {
            let all = self.tracks.iter().enumerate();
            let wanted = all.filter(|(_, track)| is_wanted(track));
            wanted.map(|(at, _)| at).collect()
        };
        let detections = matching.detections;
        let (strong, weak): (Vec<usize>, Vec<usize>) =
            usable.iter().partition(|&&at| detections[at].is_strong());
        // Seen in the last frame that was looked at.
        let since_look = self.next_sequence - self.looked_to;
        let was_there = |track: &Track| u64::from(track.unseen) <= since_look;
        let believed = of(&Track::is_confirmed);
        let followed = of(&|track| track.is_confirmed() && was_there(track));
        let new = of(&|track| !track.is_confirmed());

        let overlap = |track: usize, seen: &Bounds| self.tracks[track].bounds().iou(seen);
        let mut stage = |tracks: &[usize], seen: &[usize], least: f64, fit: &Fit<'_>| {
            matching.match_best(&self.tracks, tracks, seen, least, fit);
        };
        stage(&believed, &strong, OVERLAP_STRONG, &overlap);
        stage(&followed, &weak, OVERLAP_WEAK, &overlap);
        stage(&new, &strong, OVERLAP_NEW, &overlap);
    }

    /// What is seen clearly and belongs to nobody may be a new object.
    fn begin_tracks(&mut self, matching: &mut Matching<'_>, usable: &[usize]) {
        for &at in usable {
            let detection = matching.detections[at];
            let is_free = matching.track_of[at].is_none() && detection.is_strong();
            if is_free && self.tracks.len() < MAX_TRACKS {
                matching.track_of[at] = Some(self.tracks.len());
                let track = Track::begin(detection.label, &detection.bounds);
                self.tracks.push(track);
            }
        }
    }

    fn believe(&mut self) {
        for track in &mut self.tracks {
            if !track.is_confirmed() && track.hits >= HITS_TO_BELIEVE {
                self.last_id += 1;
                track.id = self.last_id;
            }
        }
    }
}

/// How well an expected object and a box fit: 0 to 1.
type Fit<'a> = dyn Fn(usize, &Bounds) -> f64 + 'a;

/// One frame's matching: who is whose, and who is still alone.
struct Matching<'a> {
    detections: &'a [Detection<'a>],
    /// By detection: the index of its track.
    track_of: Vec<Option<usize>>,
    is_track_matched: Vec<bool>,
}

impl<'a> Matching<'a> {
    fn new(detections: &'a [Detection<'a>], tracks: usize) -> Self {
        Self {
            detections,
            track_of: vec![None; detections.len()],
            is_track_matched: vec![false; tracks],
        }
    }

    /// Detections with their tracks.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let all = self.track_of.iter().enumerate();
        all.filter_map(|(detection, track)| Some((detection, (*track)?)))
    }

    /// Matches those of the given that are still alone, as well as can be.
    fn match_best(
        &mut self,
        all: &[Track],
        tracks: &[usize],
        detections: &[usize],
        least: f64,
        fit: &Fit<'_>,
    ) {
        let alone = |at: &&usize| !self.is_track_matched[**at];
        let tracks: Vec<usize> = tracks.iter().filter(alone).copied().collect();
        let alone = |at: &&usize| self.track_of[**at].is_none();
        let detections: Vec<usize> = detections.iter().filter(alone).copied().collect();
        let weight = |row: usize, column: usize| {
            let (track, detection) = (tracks[row], &self.detections[detections[column]]);
            let is_same_kind = all[track].label == detection.label;
            let fit = is_same_kind.then(|| fit(track, &detection.bounds))?;
            (fit >= least).then_some(fit)
        };
        let pairs = best_pairs(tracks.len(), detections.len(), weight);
        for (row, column) in pairs {
            self.is_track_matched[tracks[row]] = true;
            self.track_of[detections[column]] = Some(tracks[row]);
        }
    }
}

/// The detections to work with, in their order: boxes that can be, and no more than can be told apart.
fn usable(detections: &[Detection<'_>]) -> Vec<usize> {
    let is_usable = |at: &usize| {
        let detection = &detections[*at];
        detection.bounds.is_sane() && (detection.is_strong() || detection.is_weak())
    };
    let mut usable: Vec<usize> = (0..detections.len()).filter(is_usable).collect();
    if usable.len() > MAX_DETECTIONS {
        let strength = |at: usize| match detections[at].confidence {
            0.0 => 1.0,
            confidence => confidence,
        };
        usable.sort_by(|&a, &b| strength(b).total_cmp(&strength(a)).then(a.cmp(&b)));
        usable.truncate(MAX_DETECTIONS);
        usable.sort_unstable();
    }
    usable
}

#[cfg(test)]
mod tests;
