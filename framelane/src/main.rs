//! `framelane`: see `framelane --help`.

mod apply;
mod args;
mod assign;
mod delete;
mod describe;
mod doctor;
mod get;
mod session;
mod state;
mod table;
mod top;

use anyhow::Context;
use args::{Args, Command};
use pipeline::service;
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    let args = Args::read();
    service::run_command(|shutdown| run(args, shutdown))
}

async fn run(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    let access = args.access;
    match args.command {
        Command::Apply(args) => apply::run(access, args).await,
        Command::Get(args) => get::run(access, args).await,
        Command::Describe(args) => describe::run(access, args).await,
        Command::Delete(args) => delete::run(access, args).await,
        Command::Assign(args) => assign::run(access, args).await,
        Command::Top(args) => top::run(access, args, shutdown).await,
        Command::Doctor(args) => doctor::run(access, args, shutdown).await,
        Command::Schema => {
            let schema = registry::yaml::json_schema();
            let text = serde_json::to_string_pretty(&schema).context("writing the schema")?;
            session::print(&format!("{text}\n"))
        }
    }
}
