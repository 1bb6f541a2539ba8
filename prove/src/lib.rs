//! Proof of delivery: faults on purpose, ledgers of what was meant, and a checker that trusts neither.
//!
//! ```text
//! seed ─▶ plan (JSON) ─▶ run: publish ─▶ Kafka ─▶ broker ─▶ Kafka ─▶ [broker ─▶ Kafka] ─▶ consumer     (real processes)
//!                           │ intents              │ calls: processor                        │ JSON lines
//!                           │ and answers          ▼ what it saw        faults: by proxy, signals, kills
//!                           └──────────▶ history ◀─┴── final read ◀──────────────────────────┘
//!                                           └─▶ check: thirteen invariants, each by name
//! ```
//! The code of Framelane itself is only met as binaries and on the wire: this crate shares the message format
//! (`processor-proto`) with it, and nothing else.

pub use kafka_proxy as proxy;

pub mod behaviour;
pub mod check;
pub mod dice;
pub mod expect;
pub mod frames;
pub mod history;
pub mod kafka;
pub mod ledger;
pub mod plan;
pub mod processor;
pub mod publish;
pub mod run;
