//! The pictures on the screen, with their results.

use super::{Flow, OpenError, Sink, SinkError};
use crate::delivery::Delivery;
use opencv::core::MatTraitConst;
use opencv::highgui;
use std::env;
use std::io;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

const TITLE: &str = "framelane";
const ESCAPE: i32 = 27;
/// How often a window without new pictures looks at its keys.
const IDLE: Duration = Duration::from_millis(30);

/// The sink.
#[derive(Debug)]
pub struct Window {
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// The toolkit wants everything on one thread: the window opens with its first picture.
    NotOpen,
    Open,
}

impl Window {
    /// Only checks that there is a display: the toolkit would end the process.
    pub fn open() -> Result<Self, OpenError> {
        check_display().map_err(|why| {
            OpenError::Display(format!(
                "no window can be shown: {why}. On a machine without a screen use --sink video:FILE, jpeg:DIR, \
                 jsonl:FILE or stats"
            ))
        })?;
        Ok(Self {
            state: State::NotOpen,
        })
    }

    fn look_at_keys(&self) -> Result<Flow, SinkError> {
        if self.state == State::NotOpen {
            return Ok(Flow::GoOn);
        }
        let key = highgui::wait_key(1)?;
        let is_quit = key >= 0 && matches!(key & 0xff, ESCAPE | 0x71 | 0x51);
        // Closed with the mouse.
        let is_closed = highgui::get_window_property(TITLE, highgui::WND_PROP_VISIBLE)? < 1.0;
        Ok(if is_quit || is_closed {
            Flow::Quit
        } else {
            Flow::GoOn
        })
    }
}

impl Sink for Window {
    fn take(&mut self, delivery: &Delivery) -> Result<Flow, SinkError> {
        if delivery.is_visible() {
            if self.state == State::NotOpen {
                let plain =
                    highgui::WINDOW_NORMAL | highgui::WINDOW_KEEPRATIO | highgui::WINDOW_GUI_NORMAL;
                highgui::named_window(TITLE, plain)?;
                let picture = delivery.picture()?;
                highgui::resize_window(TITLE, picture.cols(), picture.rows())?;
                self.state = State::Open;
            }
            highgui::imshow(TITLE, &*delivery.annotated()?)?;
        }
        self.look_at_keys()
    }

    fn shows_absence(&self) -> bool {
        true
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        if self.state == State::Open {
            highgui::destroy_all_windows()?;
        }
        Ok(())
    }

    fn idle_every(&self) -> Option<Duration> {
        Some(IDLE)
    }

    fn idle(&mut self) -> Result<Flow, SinkError> {
        self.look_at_keys()
    }
}

/// Tries to reach the display as the toolkit would.
fn check_display() -> Result<(), String> {
    let of = |name| env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(display) = of("WAYLAND_DISPLAY") {
        let folder = of("XDG_RUNTIME_DIR").map(PathBuf::from).unwrap_or_default();
        if UnixStream::connect(folder.join(&display)).is_ok() {
            return Ok(());
        }
    }
    let Some(display) = of("DISPLAY") else {
        return Err(
            "there is no display (neither DISPLAY nor WAYLAND_DISPLAY leads to one)".to_owned(),
        );
    };
    connect_x11(&display)
        .map_err(|cause| format!("the display {display} does not answer ({cause})"))
}

/// `:1`, `:1.0`, `host:1`: a socket in a well-known place, or a port from 6000 on.
fn connect_x11(display: &str) -> io::Result<()> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "not of the form HOST:NUMBER");
    let (host, rest) = display.rsplit_once(':').ok_or_else(invalid)?;
    let number = rest.split('.').next().unwrap_or(rest);
    let number: u16 = number.parse().map_err(|_| invalid())?;
    if host.is_empty() || host == "unix" {
        return UnixStream::connect(format!("/tmp/.X11-unix/X{number}")).map(drop);
    }
    let port = number.checked_add(6000).ok_or_else(invalid)?;
    TcpStream::connect((host, port)).map(drop)
}
