//! What a write would do to the objects that are there: decided without I/O.

use crate::check::{self, Problem};
use crate::model::{Key, Kind, Object, Pipeline, Spec, Stage, Version, Versioned, Work};
use crate::objects::Objects;
use crate::secrets;
use serde::Serialize;
use std::collections::BTreeSet;

/// One object that is to be written or deleted.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    key: Key,
    /// None: deleted.
    object: Option<Object>,
    seen: Version,
}

impl Change {
    /// Writes an object in place of the version that the caller has seen; 0: it must not exist yet.
    pub fn put(object: Object, seen: Version) -> Self {
        Self {
            key: object.key(),
            object: Some(object),
            seen,
        }
    }

    /// Deletes the version that the caller has seen.
    pub fn delete(key: Key, seen: Version) -> Self {
        Self {
            key,
            object: None,
            seen,
        }
    }

    /// Deletes the assignments of the consumers among these, which are to be deleted too: nobody else could read what they
    /// say.
    pub fn delete_assignments(objects: &Objects, deleted: &[Key]) -> Vec<Self> {
        let consumers = deleted.iter().filter(|key| key.kind == Kind::Consumer);
        let assignments = consumers.map(|key| Key::new(Kind::Assignment, key.name.clone()));
        let others = assignments.filter(|key| !deleted.contains(key));
        let deletion = |key: Key| match objects.version(&key) {
            0 => None,
            version => Some(Self::delete(key, version)),
        };
        others.filter_map(deletion).collect()
    }

    pub fn key(&self) -> &Key {
        &self.key
    }

    /// What is to be written; None: it is to be deleted.
    pub fn object(&self) -> Option<&Object> {
        self.object.as_ref()
    }

    /// The version that it replaces.
    pub fn seen(&self) -> Version {
        self.seen
    }
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Created,
    Changed,
    /// It was like that already: nothing was written for it.
    Unchanged,
    Deleted,
}

impl Outcome {
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Deleted => "deleted",
        }
    }
}

/// One object of a write, afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Written {
    #[serde(serialize_with = "as_text")]
    pub key: Key,
    pub outcome: Outcome,
    /// Its version now; 0 for a deleted one.
    pub version: Version,
}

fn as_text<S: serde::Serializer>(key: &Key, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(key)
}

/// A write that may be made.
#[derive(Debug, PartialEq)]
pub(crate) struct Plan {
    /// For each change in turn: what becomes of it, and what is to be written (with hidden passwords put back).
    pub steps: Vec<Step>,
}

impl Plan {
    /// What there is to write.
    pub fn news(&self) -> impl Iterator<Item = &Step> {
        let is_news = |step: &&Step| step.outcome != Outcome::Unchanged;
        self.steps.iter().filter(is_news)
    }
}

#[derive(Debug, PartialEq)]
pub(crate) struct Step {
    pub key: Key,
    pub object: Option<Object>,
    pub seen: Version,
    pub outcome: Outcome,
}

/// Why a write may not be made.
#[derive(Debug, PartialEq)]
pub(crate) enum Refusal {
    Twice(Key),
    /// These are of another version now.
    Stale(Vec<Key>),
    Problems(Vec<Problem>),
}

/// Compares the versions and checks what would come of it. Problems that there were before are no reason to refuse: else
/// they could not be mended one by one.
pub(crate) fn plan(objects: &Objects, changes: &[Change]) -> Result<Plan, Refusal> {
    let mut keys = BTreeSet::new();
    if let Some(twice) = changes.iter().find(|change| !keys.insert(&change.key)) {
        return Err(Refusal::Twice(twice.key.clone()));
    }
    let is_stale = |change: &&Change| objects.version(&change.key) != change.seen;
    let stale: Vec<Key> = changes
        .iter()
        .filter(is_stale)
        .map(|one| one.key.clone())
        .collect();
    if !stale.is_empty() {
        return Err(Refusal::Stale(stale));
    }
    let mut after = objects.clone();
    let mut problems = Vec::new();
    let mut steps = Vec::with_capacity(changes.len());
    for change in changes {
        match step(objects, change) {
            Ok(step) => {
                apply(&mut after, &step);
                steps.push(step);
            }
            Err(text) => problems.push(Problem {
                key: change.key.clone(),
                text,
            }),
        }
    }
    let deleted = changes.iter().filter(|change| change.object.is_none());
    problems.extend(deleted.filter_map(|change| {
        let users = check::users_left_behind(objects, &after, &change.key);
        let text = format!(
            "it is used by {}: delete or change that too",
            users.join(", ")
        );
        let key = change.key.clone();
        (!users.is_empty()).then_some(Problem { key, text })
    }));
    if !problems.is_empty() {
        return Err(Refusal::Problems(problems)); // what follows from them would only hide them
    }
    let before: BTreeSet<Problem> = check::problems(objects).into_iter().collect();
    problems.extend(
        check::problems(&after)
            .into_iter()
            .filter(|one| !before.contains(one)),
    );
    match problems.is_empty() {
        true => Ok(Plan { steps }),
        false => Err(Refusal::Problems(problems)),
    }
}

fn step(objects: &Objects, change: &Change) -> Result<Step, String> {
    let present = objects.get(&change.key);
    let mut object = change.object.clone();
    if let Some(object) = &mut object {
        secrets::restore(&mut object.spec, present.as_ref().map(|one| &one.spec))?;
    }
    if let Some((stage, why)) = object.as_ref().and_then(|object| object.spec.bad_option()) {
        let place = stage.map_or_else(String::new, |number| format!("stages[{number}]."));
        return Err(format!("{place}{why}"));
    }
    if let (Some(Spec::Pipeline(new)), Some(Spec::Pipeline(old))) = (
        object.as_ref().map(|object| &object.spec),
        present.as_ref().map(|present| &present.spec),
    ) {
        keeps_first_branches(old, new)?;
    }
    // What it was before is no reason to leave a record there that nobody here can read.
    let is_readable = objects.unreadable(&change.key).is_none();
    let outcome = match (&object, &present) {
        (None, None) if change.seen == 0 => Outcome::Unchanged,
        (None, _) => Outcome::Deleted,
        (Some(new), Some(old)) if is_readable && *new == old.object() => Outcome::Unchanged,
        (Some(_), None) if change.seen == 0 => Outcome::Created,
        (Some(_), _) => Outcome::Changed,
    };
    Ok(Step {
        key: change.key.clone(),
        object,
        seen: change.seen,
        outcome,
    })
}

/// Brokers share a join by the partitions of its first branch. While one goes by the old list and one by the new, both would
/// have all of it.
fn keeps_first_branches(old: &Pipeline, new: &Pipeline) -> Result<(), String> {
    let first = |stage: &Stage| match &stage.work {
        Work::Join { inputs } => inputs.first().cloned(),
        Work::Process { .. } => None,
    };
    for (stage, now) in new.stages.iter().filter_map(|one| Some((one, first(one)?))) {
        let is_same = |one: &&Stage| one.name == stage.name || one.to == stage.to;
        let mut same = old.stages.iter().filter(is_same).filter_map(first);
        if let Some(before) = same.find(|before| *before != now) {
            return Err(format!(
                "stage {}: the join that it replaces begins with {before}, by which brokers share the work; with {now} first \
                 two of them could do the same frames. Leave {before} in its place, or make a stage with another name and \
                 another `to`, which begins anew",
                stage.name
            ));
        }
    }
    Ok(())
}

fn apply(objects: &mut Objects, step: &Step) {
    match &step.object {
        None => objects.remove(&step.key),
        Some(object) => objects.insert(Versioned::unwritten(object.clone(), step.seen)),
    }
}

/// What a write would do, for those who want to see it before.
pub fn preview(objects: &Objects, changes: &[Change]) -> Result<Vec<Written>, Vec<Problem>> {
    let seen_now = changes.iter().map(|change| Change {
        seen: objects.version(&change.key),
        ..change.clone()
    });
    let seen_now: Vec<Change> = seen_now.collect();
    match plan(objects, &seen_now) {
        Ok(plan) => Ok(plan
            .steps
            .into_iter()
            .map(|step| Written {
                key: step.key,
                outcome: step.outcome,
                version: step.seen,
            })
            .collect()),
        Err(Refusal::Problems(problems)) => Err(problems),
        Err(Refusal::Twice(key)) => {
            let text = "it is there twice".to_owned();
            Err(vec![Problem { key, text }])
        }
        // Every version is the present one.
        Err(Refusal::Stale(_)) => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Vec<Object> {
        crate::yaml::parse(text, "x").unwrap()
    }

    fn objects() -> Objects {
        let mut objects = Objects::default();
        let text = "
{kind: Source, name: a, spec: {host: h, camera: 0}}
---
{kind: Consumer, name: m, spec: {}}
---
{kind: Assignment, name: m, spec: {sources: [a]}}
";
        for (version, object) in (1..).zip(parse(text)) {
            objects.insert(Versioned::unwritten(object, version));
        }
        objects
    }

    fn outcomes(changes: &[Change]) -> Result<Vec<Outcome>, Refusal> {
        plan(&objects(), changes).map(|plan| plan.steps.iter().map(|step| step.outcome).collect())
    }

    #[test]
    fn a_write_says_what_becomes_of_each_object() {
        let new = parse(
            "
{kind: Source, name: a, spec: {host: h, camera: 0}}
---
{kind: Source, name: b, spec: {host: h, camera: 1}}
---
{kind: Assignment, name: m, spec: {sources: [a, b]}}
",
        );
        let seen = [1, 0, 3];
        let changes: Vec<Change> = new
            .into_iter()
            .zip(seen)
            .map(|(one, seen)| Change::put(one, seen))
            .collect();
        let expected = vec![Outcome::Unchanged, Outcome::Created, Outcome::Changed];
        assert_eq!(outcomes(&changes), Ok(expected));
    }

    #[test]
    fn a_join_keeps_its_first_branch() {
        let pipeline = |stage: &str, branches: &str| {
            let text = format!(
                "{{kind: Pipeline, name: p, spec: {{stages: [{{name: {stage}, join: [{branches}], to: out}}]}}}}"
            );
            parse(&text).remove(0)
        };
        let mut objects = Objects::default();
        let others = "
{kind: Source, name: a, spec: {host: h, camera: 0}}
---
{kind: Processor, name: x, spec: {addresses: ['http://h:1']}}
---
{kind: Pipeline, name: q, spec: {stages: [
  {name: one, from: [a], processor: x, to: b}, {name: two, from: [a], processor: x, to: c}]}}
";
        for other in parse(others) {
            objects.insert(Versioned::unwritten(other, 1));
        }
        objects.insert(Versioned::unwritten(pipeline("s", "a, b"), 1));
        let change = |to| plan(&objects, &[Change::put(to, 1)]);
        let mut elsewhere = pipeline("other", "b, a");
        if let Spec::Pipeline(pipeline) = &mut elsewhere.spec {
            pipeline.stages[0].to = Some("elsewhere".parse().unwrap());
        }
        for good in [pipeline("s", "a, c, b"), elsewhere] {
            assert_eq!(change(good).err(), None);
        }
        for bad in [pipeline("s", "b, a"), pipeline("other", "b, a")] {
            let Err(Refusal::Problems(problems)) = change(bad) else {
                panic!("it was taken");
            };
            assert!(problems[0].text.contains("begins with a"), "{problems:?}");
        }
    }

    #[test]
    fn an_unreadable_record_is_replaced_also_by_what_was_there_before() {
        let mut objects = objects();
        let source = parse("{kind: Source, name: a, spec: {host: h, camera: 0}}").remove(0);
        let unreadable = crate::objects::Unreadable {
            version: 9,
            why: "x".to_owned(),
        };
        objects.unreadable.insert("source/a".to_owned(), unreadable);
        let outcome = |seen| {
            let plan = plan(&objects, &[Change::put(source.clone(), seen)])?;
            Ok(plan.steps[0].outcome)
        };
        assert_eq!(outcome(9), Ok(Outcome::Changed));
        assert_eq!(outcome(1), Err(Refusal::Stale(vec![source.key()])));
    }

    #[test]
    fn a_version_that_is_not_the_present_one_is_stale() {
        let source = parse("{kind: Source, name: a, spec: {host: h, camera: 5}}").remove(0);
        let key = source.key();
        for seen in [0, 2] {
            let changes = [Change::put(source.clone(), seen)];
            assert_eq!(outcomes(&changes), Err(Refusal::Stale(vec![key.clone()])));
        }
        let gone = "source/gone".parse::<Key>().unwrap();
        assert_eq!(
            outcomes(&[Change::delete(gone.clone(), 4)]),
            Err(Refusal::Stale(vec![gone.clone()]))
        );
        assert_eq!(
            outcomes(&[Change::delete(gone, 0)]),
            Ok(vec![Outcome::Unchanged])
        );
    }

    #[test]
    fn what_others_refer_to_cannot_be_deleted_but_together_with_them() {
        let key = |text: &str| text.parse::<Key>().unwrap();
        let alone = outcomes(&[Change::delete(key("source/a"), 1)]);
        assert!(matches!(alone, Err(Refusal::Problems(problems)) if problems.len() == 1));
        let together = [
            Change::delete(key("source/a"), 1),
            Change::delete(key("assignment/m"), 3),
        ];
        assert_eq!(outcomes(&together), Ok(vec![Outcome::Deleted; 2]));
    }

    #[test]
    fn with_a_consumer_goes_what_is_assigned_to_it() {
        let key = |text: &str| text.parse::<Key>().unwrap();
        let objects = objects();
        let more = |deleted: &[Key]| Change::delete_assignments(&objects, deleted);
        let assignment = Change::delete(key("assignment/m"), 3);
        assert_eq!(more(&[key("source/a"), key("consumer/m")]), [assignment]);
        assert_eq!(more(&[key("consumer/m"), key("assignment/m")]), []);
        assert_eq!(more(&[key("consumer/n")]), []);
    }

    #[test]
    fn the_same_object_twice_is_refused() {
        let key = "source/a".parse::<Key>().unwrap();
        let twice = [
            Change::delete(key.clone(), 1),
            Change::delete(key.clone(), 1),
        ];
        assert_eq!(outcomes(&twice), Err(Refusal::Twice(key)));
    }

    #[test]
    fn problems_that_there_were_before_can_be_mended_one_by_one() {
        let mut broken = objects();
        broken.remove(&"source/a".parse().unwrap());
        let consumer = parse("{kind: Consumer, name: n, spec: {}}").remove(0);
        assert!(plan(&broken, &[Change::put(consumer, 0)]).is_ok());
        let worse = parse("{kind: Assignment, name: n, spec: {sources: []}}").remove(0);
        assert!(plan(&broken, &[Change::put(worse, 0)]).is_err());
    }
}
