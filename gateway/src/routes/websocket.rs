//! WebSocket: each binary message a record with its picture; text messages say how it goes, and take commands.

use super::App;
use super::ask::{Ask, check_rate};
use super::viewer::{Over, Viewer, Way};
use crate::access::Pass;
use crate::address::Address;
use crate::pictures::Variant;
use crate::refusal::Refusal;
use crate::replay::Replay;
use crate::stats::Summary;
use crate::supply::{From, Given, Wish};
use axum::Extension;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Path, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// What clients say is short.
const MAX_COMMAND_BYTES: usize = 4 << 10;
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// `/ws/{topic}/{source}`
pub async fn open(
    State(app): State<Arc<App>>,
    Extension(pass): Extension<Pass>,
    Path((topic, source)): Path<(String, String)>,
    ask: Ask,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Refusal> {
    let address = Address::new(&topic, &source)?;
    let viewer = Viewer::seat(&app, &pass, &address, (Way::WebSocket, ask.wish()?)).await?;
    let upgrade = upgrade
        .max_message_size(MAX_COMMAND_BYTES)
        .max_frame_size(MAX_COMMAND_BYTES)
        // Taken for each viewer, whatever it says.
        .read_buffer_size(MAX_COMMAND_BYTES)
        // Each message is sent at once, and alone.
        .write_buffer_size(0);
    Ok(upgrade.on_upgrade(move |socket| {
        let session = Session {
            socket,
            viewer,
            shown: None,
        };
        session.run()
    }))
}

/// What a client may say; anything of it, in one message.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Command {
    /// Pixels, or "full".
    size: Option<Size>,
    overlay: Option<bool>,
    /// Frames a second; 0: all.
    rate: Option<f64>,
    pause: Option<bool>,
    resume: Option<bool>,
    /// `live`, `earliest`, `offset:N`, `time:RFC3339`
    seek: Option<String>,
    speed: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Size {
    Pixels(u32),
    Word(String),
}

/// What a client is told once a second, and after each command.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Told<'a> {
    Status {
        mode: &'static str,
        paused: bool,
        speed: f64,
        width: Option<u32>,
        overlay: bool,
        rate: Option<f64>,
        /// To this client.
        sent: u64,
        skipped: u64,
        /// Of this source, at this gateway.
        viewers: usize,
        source: Box<Summary>,
    },
    Error {
        error: &'a str,
    },
}

struct Session {
    socket: WebSocket,
    viewer: Viewer,
    /// The offset of the last record that was sent.
    shown: Option<i64>,
}

enum Event {
    Client(Option<Result<Message, axum::Error>>),
    Given(Result<Given, Over>),
    Tick,
}

/// The client has gone.
struct Gone;

impl Session {
    async fn run(mut self) {
        let mut tick = tokio::time::interval(STATUS_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                message = self.socket.recv() => Event::Client(message),
                given = self.viewer.next() => Event::Given(given),
                _ = tick.tick() => Event::Tick,
            };
            if self.apply(event).await.is_err() {
                return;
            }
        }
    }

    async fn apply(&mut self, event: Event) -> Result<(), Gone> {
        match event {
            Event::Client(None | Some(Err(_) | Ok(Message::Close(_)))) => Err(Gone),
            Event::Client(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => Ok(()), // answered below us
            Event::Client(Some(Ok(Message::Binary(_)))) => {
                self.tell_error("commands are JSON texts").await
            }
            Event::Client(Some(Ok(Message::Text(text)))) => {
                let command = serde_json::from_str::<Command>(&text);
                let outcome = match command {
                    Ok(command) => self.obey(command).await,
                    Err(error) => Err(Refusal::bad(error)),
                };
                match outcome {
                    Ok(()) => self.tell_status().await,
                    Err(refusal) => self.tell_error(&refusal.why).await,
                }
            }
            Event::Given(Ok(given)) => self.show(&given).await,
            Event::Given(Err(over)) => {
                let code = match over {
                    Over::Stopping => close_code::AWAY,
                    Over::Expired => close_code::POLICY,
                    Over::Failed(_) => close_code::ERROR,
                };
                let reason: String = over.to_string().chars().take(100).collect(); // 123 bytes at most
                let close = CloseFrame {
                    code,
                    reason: reason.into(),
                };
                self.send(Message::Close(Some(close))).await?;
                Err(Gone)
            }
            Event::Tick => self.tell_status().await,
        }
    }

    async fn show(&mut self, given: &Given) -> Result<(), Gone> {
        let message = given.shot.message();
        self.shown = Some(given.shot.offset());
        self.viewer.count_sent(message.len());
        self.send(Message::Binary(message)).await?;
        match Replay::is_end(&given.shot) {
            true => self.tell_status().await,
            false => Ok(()),
        }
    }

    async fn obey(&mut self, command: Command) -> Result<(), Refusal> {
        let wish = self.wish(&command)?;
        let supply = &mut self.viewer.supply;
        match command.seek.as_deref().map(str::parse::<From>) {
            Some(Err(why)) => return Err(Refusal::bad(format!("seek: {why}"))),
            Some(Ok(From::At(position))) => supply.seek(position, wish).await?,
            Some(Ok(From::Live)) => {
                supply
                    .change(Wish {
                        from: From::Live,
                        ..wish
                    })
                    .await?;
            }
            None => supply.change(wish).await?,
        }
        if command.pause == Some(true) {
            supply.pause(self.shown).await?;
        }
        if command.resume == Some(true) {
            supply.resume();
        }
        Ok(())
    }

    /// What was wished for so far, with what the command changes of it.
    fn wish(&self, command: &Command) -> Result<Wish, Refusal> {
        let wish = self.viewer.supply.wish();
        let overlay = command.overlay.unwrap_or(wish.variant.has_overlay());
        let text = |pixels: u32| pixels.to_string();
        let size = match &command.size {
            Some(Size::Pixels(pixels)) => Some(text(*pixels)),
            Some(Size::Word(word)) => Some(word.clone()),
            None => wish.variant.width().map(text),
        };
        let rate = match command.rate {
            Some(0.0) => None,
            Some(rate) => Some(check_rate(rate)?),
            None => wish.rate,
        };
        Ok(Wish {
            variant: Variant::parse(size.as_deref(), overlay)?,
            rate,
            from: wish.from,
            speed: command.speed.unwrap_or(wish.speed),
        })
    }

    async fn tell_status(&mut self) -> Result<(), Gone> {
        let supply = &mut self.viewer.supply;
        let wish = supply.wish();
        let told = Told::Status {
            mode: if supply.is_live() { "live" } else { "replay" },
            paused: supply.is_paused(),
            speed: wish.speed,
            width: wish.variant.width(),
            overlay: wish.variant.has_overlay(),
            rate: wish.rate,
            sent: self.viewer.sent,
            skipped: self.viewer.skipped,
            viewers: self.viewer.supply.hub().viewers(),
            source: Box::new(self.viewer.supply.hub().summary()),
        };
        self.tell(&told).await
    }

    async fn tell_error(&mut self, error: &str) -> Result<(), Gone> {
        self.tell(&Told::Error { error }).await
    }

    async fn tell(&mut self, told: &Told<'_>) -> Result<(), Gone> {
        let text = serde_json::to_string(told).expect("names are texts");
        self.send(Message::Text(text.into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Gone> {
        self.socket.send(message).await.map_err(|error| {
            tracing::debug!(%error, "a viewer has gone");
            Gone
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_as_clients_write_them() {
        let command: Command = serde_json::from_str(
            r#"{"size": 640, "overlay": true, "rate": 5, "seek": "earliest", "speed": 2}"#,
        )
        .unwrap();
        assert!(matches!(command.size, Some(Size::Pixels(640))));
        assert_eq!(command.seek.as_deref(), Some("earliest"));
        let full: Command = serde_json::from_str(r#"{"size": "full", "pause": true}"#).unwrap();
        assert!(matches!(full.size, Some(Size::Word(_))) && full.pause == Some(true));
        for bad in [
            r#"{"sise": 640}"#,
            "[]",
            "pause",
            r#"{"rate": "fast"}"#,
            r#"{"size": -1}"#,
        ] {
            assert!(serde_json::from_str::<Command>(bad).is_err(), "{bad}");
        }
    }
}
