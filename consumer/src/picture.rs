//! What a record looks like: fetched, decoded, drawn on and encoded at most once, when the first sink asks.
//!
//! ```text
//! content (inline, or fetched by reference) -> decoded picture, or one that says why there is none -> with results
//! ```

use crate::config::PictureCheck;
use crate::decode::{self, Undecodable};
use crate::delivery::Delivery;
use crate::{overlay, placeholder};
use bytes::Bytes;
use opencv::core::{Mat, MatTraitConst, MatTraitConstManual};
use pipeline::envelope::Kind;
use pipeline::kafka::KafkaFault;
use pipeline::picture_code::{PictureCode, Pixels};
use pipeline::resolve::{Resolver, Resolving};
use pipeline::v1::{Codec, Frame, frame};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// A referenced picture is asked for this often before the consumer stops; each try waits up to 15 s for Kafka.
const FETCH_ATTEMPTS: u32 = 8;
const FETCH_BACKOFF: Duration = Duration::from_secs(1);

/// Why a picture cannot be shown at all (one that is missing or broken is shown as a placeholder instead).
#[derive(Debug, Clone, thiserror::Error)]
pub enum PictureError {
    /// Kafka could not be asked for the record that holds the pixels.
    #[error("the picture could not be fetched: {0}")]
    Fetch(Arc<KafkaFault>),
    /// OpenCV refused an operation that cannot fail on valid input.
    #[error("OpenCV: {0}")]
    OpenCv(Arc<opencv::Error>),
}

impl From<opencv::Error> for PictureError {
    fn from(cause: opencv::Error) -> Self {
        Self::OpenCv(Arc::new(cause))
    }
}

/// Whether the picture's own code names its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureVerdict {
    /// Not asked for, or there is no picture.
    Unchecked,
    /// It does.
    Fits,
    /// It names another frame, or none.
    Mismatch,
}

/// The pictures of one record.
#[derive(Debug, Default)]
pub struct Pictures {
    check: Option<PictureCheck>,
    fetch: Option<Fetch>,
    fetched: OnceLock<Result<frame::Content, PictureError>>,
    shown: OnceLock<Result<Shown, PictureError>>,
    annotated: OnceLock<Result<Mutex<Mat>, PictureError>>,
    annotated_jpeg: OnceLock<Result<Bytes, PictureError>>,
}

#[derive(Debug)]
struct Fetch {
    resolver: Arc<Resolver>,
    resolving: Mutex<Option<Resolving>>,
}

#[derive(Debug)]
struct Shown {
    // OpenCV's pictures may move between threads but not be used by two at once.
    picture: Mutex<Mat>,
    verdict: PictureVerdict,
}

fn lock(picture: &Mutex<Mat>) -> MutexGuard<'_, Mat> {
    // A picture is complete before anyone else can lock it.
    picture.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How pictures are come by.
#[derive(Debug, Clone)]
pub struct PicturePlan {
    /// Finds pictures that lie in other records.
    pub resolver: Arc<Resolver>,
    /// Whether pictures are compared with their frames' ids.
    pub check: PictureCheck,
    /// When pictures that lie in other records are fetched.
    pub fetching: Fetching,
}

/// When a picture that lies in another record is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetching {
    /// Every one is needed: while the frames before are shown.
    Now,
    /// Few are needed: when somebody asks.
    OnDemand,
}

impl Pictures {
    /// Prepares for, or starts to fetch, a picture that lies in another record.
    pub fn of(frame: &Frame, plan: &PicturePlan, fetching: Fetching) -> Self {
        let resolving = match fetching {
            Fetching::Now => plan.resolver.resolve(frame),
            Fetching::OnDemand => None,
        };
        let is_elsewhere = matches!(frame.content, Some(frame::Content::Reference(_)));
        let fetch = is_elsewhere.then(|| Fetch {
            resolver: Arc::clone(&plan.resolver),
            resolving: Mutex::new(resolving),
        });
        Self {
            check: Some(plan.check),
            fetch,
            ..Self::default()
        }
    }
}

impl Fetch {
    fn wait(&self, frame: &Frame) -> Result<frame::Content, PictureError> {
        let first = self
            .resolving
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let mut resolving = first.or_else(|| self.resolver.resolve(frame));
        for attempt in 1.. {
            let Some(pending) = resolving.take() else {
                break;
            };
            match pending.wait() {
                Ok(content) => return Ok(content),
                Err(fault) if attempt >= FETCH_ATTEMPTS => {
                    return Err(PictureError::Fetch(Arc::new(fault)));
                }
                Err(fault) => {
                    tracing::warn!(%fault, attempt, "fetching a picture failed; trying again");
                    std::thread::sleep(FETCH_BACKOFF);
                    resolving = self.resolver.resolve(frame);
                }
            }
        }
        let fault = KafkaFault::Failed("a frame lost its reference".to_owned());
        Err(PictureError::Fetch(Arc::new(fault)))
    }
}

impl Delivery {
    /// True for what a person should see: frames, and what stands for frames. An end shows nothing.
    pub fn is_visible(&self) -> bool {
        !matches!(self.message(), Some(Kind::End(_)))
    }

    /// The JPEG as it was captured, if the frame has one.
    pub fn original_jpeg(&self) -> Result<Option<Bytes>, PictureError> {
        let Some(frame) = self.frame().filter(|frame| frame.codec() == Codec::Jpeg) else {
            return Ok(None);
        };
        match self.pixels_of(frame)? {
            frame::Content::Inline(jpeg) => Ok(Some(jpeg.clone())),
            _ => Ok(None),
        }
    }

    /// The picture, or one that says why there is none. 8 bits, blue green red.
    pub fn picture(&self) -> Result<MutexGuard<'_, Mat>, PictureError> {
        self.shown().map(|shown| lock(&shown.picture))
    }

    /// As [`Delivery::picture`], with the results drawn in.
    pub fn annotated(&self) -> Result<MutexGuard<'_, Mat>, PictureError> {
        let annotated = self.pictures.annotated.get_or_init(|| {
            let mut picture = self.picture()?.try_clone()?;
            if let Some(frame) = self.frame() {
                overlay::draw_trails(&mut picture, &self.trails)?;
                overlay::draw(&mut picture, frame)?;
            }
            Ok(Mutex::new(picture))
        });
        annotated.as_ref().map(lock).map_err(Clone::clone)
    }

    /// As [`Delivery::annotated`], as a JPEG.
    pub fn annotated_jpeg(&self) -> Result<Bytes, PictureError> {
        let jpeg = self.pictures.annotated_jpeg.get_or_init(|| {
            let picture = self.annotated()?;
            Ok(decode::to_jpeg(&picture)?)
        });
        jpeg.clone()
    }

    /// As [`Delivery::picture`], as a JPEG.
    pub fn picture_jpeg(&self) -> Result<Bytes, PictureError> {
        Ok(decode::to_jpeg(&*self.picture()?)?)
    }

    /// Whether pixels and frame id belong together, if that is to be checked.
    pub fn picture_verdict(&self) -> Result<PictureVerdict, PictureError> {
        match self.pictures.check {
            Some(PictureCheck::On) => self.shown().map(|shown| shown.verdict),
            _ => Ok(PictureVerdict::Unchecked),
        }
    }

    fn shown(&self) -> Result<&Shown, PictureError> {
        let shown = self.pictures.shown.get_or_init(|| self.show());
        shown.as_ref().map_err(Clone::clone)
    }

    fn show(&self) -> Result<Shown, PictureError> {
        let instead = |why: &str| -> Result<Shown, PictureError> {
            Ok(Shown {
                picture: Mutex::new(placeholder::draw(self, why)?),
                verdict: PictureVerdict::Unchecked,
            })
        };
        let Some(frame) = self.frame() else {
            return instead(&placeholder::reason(self));
        };
        match self.pixels_of(frame)? {
            frame::Content::Inline(bytes) => match decode::decode(frame, bytes) {
                Ok(picture) => Ok(Shown {
                    verdict: self.compare(frame, &picture)?,
                    picture: Mutex::new(picture),
                }),
                Err(Undecodable(why)) => {
                    tracing::warn!(record = %self.place(), why, "a picture cannot be decoded");
                    let broken = instead(&format!("broken picture: {why}"))?;
                    Ok(Shown {
                        verdict: match self.pictures.check {
                            Some(PictureCheck::On) => PictureVerdict::Mismatch,
                            _ => PictureVerdict::Unchecked,
                        },
                        ..broken
                    })
                }
            },
            frame::Content::Missing(missing) => {
                instead(&format!("no picture: {}", missing.reason().word()))
            }
            frame::Content::Reference(_) => instead("no picture: unresolved"),
        }
    }

    fn pixels_of<'a>(&'a self, frame: &'a Frame) -> Result<&'a frame::Content, PictureError> {
        const NONE: &frame::Content = &frame::Content::Missing(pipeline::v1::Missing {
            reason: 0,
            last_known: None,
        });
        match &self.pictures.fetch {
            None => Ok(frame.content.as_ref().unwrap_or(NONE)),
            Some(fetch) => {
                let fetched = self.pictures.fetched.get_or_init(|| fetch.wait(frame));
                fetched.as_ref().map_err(Clone::clone)
            }
        }
    }

    fn compare(&self, frame: &Frame, picture: &Mat) -> Result<PictureVerdict, PictureError> {
        if self.pictures.check != Some(PictureCheck::On) {
            return Ok(PictureVerdict::Unchecked);
        }
        let pixels = Pixels {
            data: picture.data_bytes()?,
            width: picture.cols() as usize,
            height: picture.rows() as usize,
            channels: picture.channels() as usize,
        };
        let expected = frame.id.as_ref().map(PictureCode::of);
        let found = PictureCode::read(&pixels);
        if found.is_some() && found == expected {
            return Ok(PictureVerdict::Fits);
        }
        let record = self.place();
        tracing::error!(record, ?expected, ?found, "the picture is another frame's");
        Ok(PictureVerdict::Mismatch)
    }
}
