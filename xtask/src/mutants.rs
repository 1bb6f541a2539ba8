//! `cargo xtask mutants`: breaks a copy of the code on purpose, one patch at a time. Each must be noticed, by name.
//!
//! A patch in `tests/mutants` begins with lines that say what it breaks and which commands must catch it:
//!
//! ```text
//! # breaks: offsets are left out of the transaction
//! # caught-by: cargo test -p pipeline --test delivery_model
//! # caught-by: prove --seed 7 --rows 1,2
//! ```
//! `cargo test` runs in the copy. `prove` is this tree's own: the checker is whole, only the services are broken.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use kafka_node::{Kafka, Options};

use crate::prove;
use crate::setup;
use crate::steps::{execute, step};
use crate::workspace::{SERVICES, cargo, root, target};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names of patches without `.patch` [default: all]
    names: Vec<String>,
    /// Do not first see every catching command succeed on the unbroken copy
    #[arg(long)]
    no_control: bool,
}

/// A patch and what must notice it.
struct Mutant {
    name: String,
    patch: PathBuf,
    breaks: String,
    catchers: Vec<Catcher>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Catcher {
    /// Arguments of `cargo test`.
    Test(Vec<String>),
    /// Arguments of `cargo xtask prove`.
    Prove(Vec<String>),
}

pub fn run(args: &Args) -> Result<()> {
    setup::run()?;
    let mutants = chosen(&args.names)?;
    let kafka = Kafka::find_or_start(&Options::from_env()?)?;
    let copy = Copy {
        tree: target().join("mutants/tree"),
        build: target().join("mutants/build"),
        servers: kafka.bootstrap_servers().to_owned(),
        prove: step("building the checker", prove::build_checker)?,
    };
    copy.restore()?;
    if !args.no_control {
        let catchers: BTreeSet<_> = mutants.iter().flat_map(|mutant| &mutant.catchers).collect();
        for catcher in catchers {
            let found = step(&format!("unbroken: {catcher}"), || copy.findings(catcher))?;
            ensure!(
                found.is_empty(),
                "{catcher} fails without any mutant: {}",
                found.join(", ")
            );
        }
    }
    let mut unnoticed = Vec::new();
    let mut report = String::new();
    for mutant in &mutants {
        let found = step(&format!("{}: {}", mutant.name, mutant.breaks), || {
            copy.examine(mutant)
        })?;
        for (catcher, names) in mutant.catchers.iter().zip(found) {
            if names.is_empty() {
                unnoticed.push(format!("{} by {catcher}", mutant.name));
            }
            let verdict = match &names[..] {
                [] => "NOT CAUGHT".to_owned(),
                names => format!("caught: {}", names.join(", ")),
            };
            report.push_str(&format!(
                "{:<32} {verdict}\n{:>32} by {catcher}\n",
                mutant.name, ""
            ));
        }
    }
    copy.restore()?;
    print!("{report}");
    if !unnoticed.is_empty() {
        bail!("not caught: {}", unnoticed.join("; "));
    }
    println!("{} mutants, all caught", mutants.len());
    Ok(())
}

fn chosen(names: &[String]) -> Result<Vec<Mutant>> {
    let folder = root().join("tests/mutants");
    let mut all = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "patch") {
            all.push(Mutant::read(path)?);
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(unknown) = names
        .iter()
        .find(|name| all.iter().all(|mutant| mutant.name != **name))
    {
        let known: Vec<&str> = all.iter().map(|mutant| mutant.name.as_str()).collect();
        bail!(
            "no mutant is called {unknown}; there are {}",
            known.join(", ")
        );
    }
    all.retain(|mutant| names.is_empty() || names.contains(&mutant.name));
    ensure!(!all.is_empty(), "no patches in {}", folder.display());
    Ok(all)
}

impl Mutant {
    fn read(patch: PathBuf) -> Result<Self> {
        let text = fs::read_to_string(&patch)?;
        let value = |key: &str| {
            let prefix = format!("# {key}: ");
            let lines = text.lines().take_while(|line| line.starts_with("# "));
            let values = lines.filter_map(|line| line.strip_prefix(&prefix).map(str::to_owned));
            values.collect::<Vec<_>>()
        };
        let place = patch.display();
        let catchers = value("caught-by")
            .iter()
            .map(|line| Catcher::parse(line).with_context(|| format!("{place}: caught-by")))
            .collect::<Result<Vec<_>>>()?;
        ensure!(
            !catchers.is_empty(),
            "{place}: no line `# caught-by: COMMAND`"
        );
        let breaks = value("breaks").join(" ");
        ensure!(!breaks.is_empty(), "{place}: no line `# breaks: WHAT`");
        let name = patch.file_stem().unwrap_or_default().to_string_lossy();
        Ok(Self {
            name: name.into_owned(),
            breaks,
            catchers,
            patch,
        })
    }
}

impl Catcher {
    fn parse(line: &str) -> Result<Self> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["cargo", "test", ..] => Ok(Self::Test(words[2..].to_vec())),
            ["prove", ..] => Ok(Self::Prove(words[1..].to_vec())),
            _ => bail!("{line:?} is neither `cargo test ...` nor `prove ...`"),
        }
    }
}

impl std::fmt::Display for Catcher {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Test(words) => write!(out, "cargo test {}", words.join(" ")),
            Self::Prove(words) => write!(out, "prove {}", words.join(" ")),
        }
    }
}

/// The copy that is broken. Its path stays the same between mutants, so only what a patch touches is built again.
struct Copy {
    tree: PathBuf,
    build: PathBuf,
    servers: String,
    /// Folder of the checker's binary.
    prove: PathBuf,
}

impl Copy {
    /// What noticed the mutant, per catcher.
    fn examine(&self, mutant: &Mutant) -> Result<Vec<Vec<String>>> {
        self.restore()?;
        self.apply(&mutant.patch)?;
        let catchers = mutant.catchers.iter();
        catchers
            .map(|catcher| self.findings(catcher))
            .collect::<Result<_>>()
            .with_context(|| format!("with {} applied", mutant.name))
    }

    /// Makes the copy the same as the tree. Files that are the same already keep their time of change.
    fn restore(&self) -> Result<()> {
        let listed = Command::new("git")
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .current_dir(root())
            .output()
            .context("listing the tree's files with git")?;
        ensure!(
            listed.status.success(),
            "git ls-files ended with {}",
            listed.status
        );
        let names = String::from_utf8(listed.stdout).context("a file's name is not UTF-8")?;
        for name in names.split_terminator('\0') {
            let (from, to) = (root().join(name), self.tree.join(name));
            if !from.is_file() {
                continue; // deleted, but not yet in git
            }
            let wanted = fs::read(&from)?;
            if fs::read(&to).ok().as_ref() != Some(&wanted) {
                fs::create_dir_all(to.parent().unwrap_or(&self.tree))?;
                fs::write(&to, wanted).with_context(|| format!("writing {}", to.display()))?;
            }
        }
        Ok(())
    }

    fn apply(&self, patch: &Path) -> Result<()> {
        let mut git = Command::new("git");
        git.args(["apply", "--whitespace=nowarn"])
            .arg(patch)
            .current_dir(&self.tree);
        // The copy lies inside this repository, but is none: git would skip what it takes for others' files.
        if let Some(above) = self.tree.parent() {
            git.env("GIT_CEILING_DIRECTORIES", above);
        }
        execute(&mut git)
            .with_context(|| format!("{} no longer applies; write it anew", patch.display()))
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut cargo = cargo(arguments);
        cargo
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.build)
            .env("CARGO_INCREMENTAL", "0")
            .env("FRAMELANE_BINARIES", self.build.join("debug"))
            .env("KAFKA_BOOTSTRAP_SERVERS", &self.servers);
        cargo
    }

    fn build_services(&self) -> Result<()> {
        let mut build = self.cargo(&["build", "--quiet", "--bins"]);
        for (package, _) in SERVICES {
            build.args(["-p", package]);
        }
        execute(&mut build)
    }

    /// Names of the tests or invariants that fail.
    fn findings(&self, catcher: &Catcher) -> Result<Vec<String>> {
        match catcher {
            Catcher::Test(arguments) => {
                let mut command = self.cargo(&["test", "--no-fail-fast"]);
                let output = command.args(arguments).stderr(Stdio::null()).output()?;
                let text = String::from_utf8_lossy(&output.stdout);
                let failed: Vec<String> = text
                    .lines()
                    .filter_map(|line| {
                        let line = line.strip_prefix("test ")?;
                        line.strip_suffix(" ... FAILED").map(str::to_owned)
                    })
                    .collect();
                ensure!(
                    output.status.success() == failed.is_empty(),
                    "{catcher} ended with {} and names no test: it did not run\n{text}",
                    output.status
                );
                ensure!(text.contains("\nrunning "), "{catcher} runs no test");
                Ok(failed)
            }
            Catcher::Prove(arguments) => {
                self.build_services()?;
                prove::violations(&self.prove, &self.build.join("debug"), arguments)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_patch_fits_the_tree() {
        for mutant in chosen(&[]).unwrap() {
            let check = Command::new("git")
                .args(["apply", "--check", "--whitespace=nowarn"])
                .arg(&mutant.patch)
                .current_dir(root())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&check.stderr);
            assert!(check.status.success(), "{}: {said}", mutant.name);
        }
    }
}
