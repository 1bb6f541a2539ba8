//! What is declared, and what is seen of it: two compacted topics, and the view of them that services follow.
//!
//! ```text
//! YAML ─▶ objects ─▶ check ─▶ write (versions, one transaction) ─▶ framelane.registry ─────┐
//!                                                                                          ├─▶ View
//! a service ─▶ Reporter (a heartbeat a second) ─────────────────▶ framelane.registry.status┘
//! ```
//! - [`model`], [`yaml`]: what can be declared, and how people write it.
//! - [`check`], [`flows`], [`diff`]: pure rules about all objects together.
//! - [`Registry`]: the topics. [`View`]: a moment of them. [`Reporter`]: what a process says of itself.
//! - [`rest`]: the same over HTTP.

pub mod check;
pub mod diff;
mod error;
mod fleet;
pub mod flows;
pub mod instance;
pub mod model;
pub mod objects;
mod reporter;
pub mod rest;
mod schema;
pub mod secrets;
mod store;
mod view;
mod wire;
pub mod yaml;

pub use error::{RegistryError, Stale};
pub use fleet::{FORGOTTEN_AFTER, HEARTBEAT, LOST_AFTER, Liveness, Seen};
pub use instance::{
    CalledProcessor, Instance, InstanceIdentity, Lane, LastFrame, RunningSource, Service,
    SourceState,
};
pub use model::{Key, Kind, Name, Object, Spec, Version, Versioned, group_of_consumer};
pub use reporter::Reporter;
pub use store::{Change, DEFAULT_TOPIC, Outcome, Registry, RegistryArgs, Written, preview};
pub use view::View;

mod proto {
    #![allow(missing_docs)]
    include!(concat!(env!("OUT_DIR"), "/framelane.registry.v1.rs"));
}
