//! The conductor: run after run, each from its seed, all against one Kafka.

mod crew;
mod faults;
mod one;
mod pipeline;
mod report;
mod world;

use crate::check::{Ceilings, judge};
use crate::history::History;
use crate::ledger::now_unix_ns;
use crate::plan::{Choice, Plan, ROWS, draw};
use anyhow::{Context, Result, bail};
use kafka_node::leash::Leash;
use pipeline::Names;
use report::{Report, RunReport, Verdict};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use world::World;

/// What to run.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Runs, of as many seeds in a row
    #[arg(long, default_value_t = 1)]
    pub seeds: u64,
    /// The first seed [default: a fresh one, which is printed]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Go on with further seeds for so long instead
    #[arg(long, conflicts_with = "seeds")]
    pub minutes: Option<u64>,
    /// Only these rows of the fault matrix, each of them
    #[arg(long, value_delimiter = ',')]
    pub rows: Option<Vec<u32>>,
    /// Kafka nodes
    #[arg(long, default_value_t = 1, value_parser = nodes)]
    pub nodes: usize,
    /// Make the run of this plan again
    #[arg(long, conflicts_with_all = ["seeds", "seed", "minutes", "rows", "nodes"])]
    pub plan: Option<PathBuf>,
    /// Where the broker and the consumer under test are
    #[arg(long, value_name = "DIR")]
    pub binaries: PathBuf,
    /// Where failed runs are kept
    #[arg(long, value_name = "DIR", default_value = "target")]
    pub target: PathBuf,
    /// Where the report is written [default: prove.json in the target folder]
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// What to judge again.
#[derive(Debug, Clone, clap::Args)]
pub struct CheckArgs {
    /// The folder of a run that was kept
    pub run: PathBuf,
}

fn nodes(text: &str) -> Result<usize, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err("1 or 3".to_owned()),
    }
}

/// Makes all runs and prints what they came to. The exit code is that of the worst.
pub fn run(args: &Args) -> Result<ExitCode> {
    check_args(args)?;
    let begin = Instant::now();
    let mut session = Session {
        args,
        world: None,
        data: None,
        report: Report::default(),
    };
    match &args.plan {
        Some(plan) => session.make(&Plan::read(plan)?)?,
        None => session.make_all(begin)?,
    }
    session.report.seconds = begin.elapsed().as_secs_f64();
    let file = args.report.clone();
    let file = file.unwrap_or_else(|| args.target.join("prove.json"));
    let json = serde_json::to_vec_pretty(&session.report)?;
    std::fs::write(&file, json).with_context(|| format!("writing {}", file.display()))?;
    println!("{}\nall of it: {}", session.report, file.display());
    Ok(match session.report.failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn check_args(args: &Args) -> Result<()> {
    for binary in ["broker", "consumer"] {
        let path = args.binaries.join(binary);
        if !path.is_file() {
            bail!(
                "there is no {}: build it, or say --binaries",
                path.display()
            );
        }
    }
    let unknown = args.rows.iter().flatten().find(|row| !ROWS.contains(row));
    if let Some(row) = unknown {
        bail!("row {row} is not one that a seeded run can make happen; these are: {ROWS:?}");
    }
    std::fs::create_dir_all(args.target.join("prove"))
        .with_context(|| format!("making {}/prove", args.target.display()))
}

struct Session<'a> {
    args: &'a Args,
    /// Kept from run to run, unless one failed.
    world: Option<(usize, World)>,
    /// Of a single node; removed after it.
    data: Option<Data>,
    report: Report,
}

/// A folder that goes with its owner, also if that is killed.
struct Data {
    folder: tempfile::TempDir,
    _leash: Leash,
}

impl Data {
    fn new() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("framelane-prove-")
            .tempdir();
        let folder = folder.context("making a folder for Kafka's data")?;
        // Kafka is ended by a leash of its own, at the same moment: what it still writes goes with the second look.
        let script = r#"rm -rf -- "$1"; sleep 1; rm -rf -- "$1""#;
        let path = folder.path().display().to_string();
        let leash = Leash::new(&["sh", "-c", script, "leash", &path]);
        Ok(Self {
            folder,
            _leash: leash.context("starting the shell that watches over the data")?,
        })
    }
}

impl Session<'_> {
    fn make_all(&mut self, begin: Instant) -> Result<()> {
        let first = self.args.seed.unwrap_or_else(|| {
            let fresh = crate::dice::mixed(now_unix_ns().unsigned_abs()) % 1_000_000;
            println!("seed {fresh} (fresh; --seed {fresh} makes the same runs)");
            fresh
        });
        let choice = Choice {
            nodes: self.args.nodes,
            rows: self.args.rows.clone(),
        };
        for seed in first.. {
            let is_over = match self.args.minutes {
                Some(minutes) => begin.elapsed() >= Duration::from_secs(60 * minutes),
                None => seed - first >= self.args.seeds,
            };
            if is_over {
                break;
            }
            self.make(&draw(seed, &choice))?;
        }
        Ok(())
    }

    /// Makes one run. A run that fails is kept and is no error; what keeps all runs from being made is one.
    fn make(&mut self, plan: &Plan) -> Result<()> {
        let names = self.names(plan)?;
        let start = Instant::now();
        let args = self.args;
        let world = self.world(plan.nodes)?;
        let result = one::run(plan, &names, world, &args.binaries);
        let replay = format!("cargo xtask prove --plan {}", names.plan().display());
        let run = match result {
            Ok(history) => {
                let checks = judge(&history, &Ceilings::default());
                let seconds = start.elapsed().as_secs_f64();
                let run = RunReport::of(&history, checks, seconds, replay);
                if run.verdict == Verdict::Failed {
                    save(&history, &names.folder)?;
                }
                run
            }
            Err(error) => RunReport::broken(plan, &error, start.elapsed().as_secs_f64(), replay),
        };
        print!("{run}");
        if let (Verdict::Failed, Some((_, world))) = (run.verdict, &self.world) {
            world.keep(&names.prefix, &names.folder)?;
        }
        match run.verdict {
            Verdict::Passed => self.tidy_up(plan, &names)?,
            // Whatever state this Kafka is in: the next run begins with a new one.
            Verdict::Failed => self.world = None,
        }
        self.report.add(run);
        Ok(())
    }

    /// A folder of the run's own, and names that nothing in Kafka has yet.
    fn names(&self, plan: &Plan) -> Result<Names> {
        let folder = self.args.target.join("prove");
        let mut folder = folder.join(format!("{}-{}", plan.seed, plan.nodes));
        // The plan that is run again may lie in the folder that would be cleared.
        let is_own = |plan: &PathBuf| plan.parent() == Some(&folder);
        if self.args.plan.as_ref().is_some_and(is_own) {
            folder.set_extension("again");
        }
        if folder.exists() {
            std::fs::remove_dir_all(&folder)
                .with_context(|| format!("clearing {}", folder.display()))?;
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Names {
            prefix: format!("prove.{}.{:x}", plan.seed, now_unix_ns() / 1_000_000),
            folder,
        })
    }

    fn world(&mut self, nodes: usize) -> Result<&mut World> {
        if self.world.as_ref().is_none_or(|(known, _)| *known != nodes) {
            self.world = None; // before the next one starts
            let data = Data::new()?;
            self.world = Some((nodes, World::start(nodes, data.folder.path())?));
            self.data = Some(data);
        }
        let (_, world) = self.world.as_mut().expect("it was just started");
        Ok(world)
    }

    fn tidy_up(&mut self, plan: &Plan, names: &Names) -> Result<()> {
        if let Some((_, world)) = &self.world {
            world.client().delete_topics(&names.topics(plan))?;
        }
        std::fs::remove_dir_all(&names.folder)
            .with_context(|| format!("removing {}", names.folder.display()))
    }
}

const HISTORY: &str = "history.json";

fn save(history: &History, folder: &Path) -> Result<()> {
    let file = std::fs::File::create(folder.join(HISTORY)).context("keeping the history")?;
    serde_json::to_writer(std::io::BufWriter::new(file), history).context("keeping the history")
}

/// Judges a run that was kept.
pub fn check(args: &CheckArgs) -> Result<ExitCode> {
    let path = args.run.join(HISTORY);
    let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let history: History = serde_json::from_slice(&text).context("the history")?;
    let checks = judge(&history, &Ceilings::default());
    let replay = format!("cargo xtask prove --plan {}/plan.json", args.run.display());
    let run = RunReport::of(&history, checks, 0.0, replay);
    print!("{run}");
    Ok(match run.verdict {
        Verdict::Passed => ExitCode::SUCCESS,
        Verdict::Failed => ExitCode::FAILURE,
    })
}
