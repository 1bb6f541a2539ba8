//! A moving test picture that says which frame it is, to people (text) and to programs (a bar code).

use super::{Input, InputError, Moment, NANOSECONDS, Picture};
use crate::options::PatternSpec;
use opencv::core::{Mat, Point, Rect, Scalar, Vec3b};
use opencv::imgproc;
use opencv::prelude::*;
use pipeline::picture_code::{PictureCode, Pixels};
use pipeline::v1::{FrameId, TimeBase};

/// How far the background moves a frame. Enough to be seen, and no two neighbours are alike.
const STEP_PX: u64 = 4;

/// Draws pictures without end.
#[derive(Debug)]
pub struct Pattern {
    spec: PatternSpec,
    /// Twice as wide as a picture: each picture is a window into it.
    background: Mat,
    next: u64,
}

impl Pattern {
    /// Draws the background once; pictures are copies of parts of it.
    pub fn new(spec: PatternSpec) -> Result<Self, InputError> {
        let (width, height) = (spec.size.width as i32, spec.size.height as i32);
        let mut row =
            Mat::new_rows_cols_with_default(1, 2 * width, Vec3b::opencv_type(), Scalar::all(0.0))?;
        for x in 0..2 * width {
            // A wave with the period of one width, so that the window wraps around without a seam.
            let turn = f64::from(x) / f64::from(width) * std::f64::consts::TAU;
            let level = |shift: f64| (128.0 + 90.0 * (turn + shift).sin()) as u8;
            *row.at_2d_mut::<Vec3b>(0, x)? = Vec3b::from([level(0.0), level(2.1), level(4.2)]);
        }
        let background = opencv::core::repeat(&row, height, 1)?;
        Ok(Self {
            spec,
            background,
            next: 0,
        })
    }

    fn draw_text(&self, picture: &mut Mat, id: &FrameId) -> Result<(), InputError> {
        let height = f64::from(self.spec.size.height);
        let scale = height / 480.0;
        let thickness = (2.0 * scale).round().max(1.0) as i32;
        let lines = [
            id.source_id.clone(),
            format!("epoch {} frame {}", id.epoch, id.sequence),
            format!("{:.3}", jiff::Timestamp::now()),
        ];
        for (n, line) in lines.iter().enumerate() {
            let at = Point::new(
                (16.0 * scale) as i32,
                (height * (0.3 + 0.1 * n as f64)) as i32,
            );
            imgproc::put_text(
                picture,
                line,
                at,
                imgproc::FONT_HERSHEY_SIMPLEX,
                scale,
                Scalar::all(255.0),
                thickness,
                imgproc::LINE_8,
                false,
            )?;
        }
        Ok(())
    }

    /// A ball that crosses the picture: motion for detectors and for eyes.
    fn draw_ball(&self, picture: &mut Mat, n: u64) -> Result<(), InputError> {
        let (width, height) = (self.spec.size.width as i32, self.spec.size.height as i32);
        let radius = height / 16;
        let x = (n * 2 * STEP_PX % u64::from(self.spec.size.width)) as i32;
        let swing = (n as f64 / 20.0).sin();
        let y = height * 3 / 4 + (f64::from(height) / 8.0 * swing) as i32;
        let center = Point::new(x.min(width - 1), y);
        let color = Scalar::new(40.0, 220.0, 240.0, 0.0);
        imgproc::circle(
            picture,
            center,
            radius,
            color,
            imgproc::FILLED,
            imgproc::LINE_8,
            0,
        )?;
        Ok(())
    }
}

impl Input for Pattern {
    fn advance(&mut self) -> Result<Option<Moment>, InputError> {
        let pts = self.spec.fps.time_of(self.next);
        self.next += 1;
        Ok(Some(Moment {
            pts,
            captured_unix_ns: None,
        }))
    }

    fn picture(&mut self, id: &FrameId) -> Result<Picture, InputError> {
        let (width, height) = (self.spec.size.width, self.spec.size.height);
        let shift = (id.sequence * STEP_PX % u64::from(width)) as i32;
        let window = Rect::new(shift, 0, width as i32, height as i32);
        let mut picture = Mat::roi(&self.background, window)?.try_clone()?;
        self.draw_ball(&mut picture, id.sequence)?;
        self.draw_text(&mut picture, id)?;
        PictureCode::of(id).draw(&mut Pixels {
            data: picture.data_bytes_mut()?,
            width: width as usize,
            height: height as usize,
            channels: 3,
        });
        Ok(Picture::Pixels(picture))
    }

    fn time_base(&self) -> TimeBase {
        NANOSECONDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opencv::core::Vector;
    use opencv::imgcodecs;

    #[test]
    fn the_id_can_be_read_out_of_the_picture_after_jpeg() {
        for size in ["160x96@30", "640x480@30", "1280x720@30"] {
            let mut pattern = Pattern::new(size.parse().unwrap()).unwrap();
            for sequence in [0, 1, 99_999] {
                let id = FrameId::new("cam0", 3, sequence);
                let Picture::Pixels(picture) = pattern.picture(&id).unwrap() else {
                    panic!("a pattern is pixels");
                };
                let mut jpeg = Vector::<u8>::new();
                let quality = Vector::from_slice(&[imgcodecs::IMWRITE_JPEG_QUALITY, 80]);
                imgcodecs::imencode(".jpg", &picture, &mut jpeg, &quality).unwrap();
                let decoded = imgcodecs::imdecode(&jpeg, imgcodecs::IMREAD_COLOR).unwrap();
                let read = PictureCode::read(&Pixels {
                    data: decoded.data_bytes().unwrap(),
                    width: decoded.cols() as usize,
                    height: decoded.rows() as usize,
                    channels: 3,
                });
                assert_eq!(read, Some(PictureCode::of(&id)), "{size}");
            }
        }
    }
}
