//! A condition about a frame, in the Common Expression Language (<https://cel.dev>). Its variables are the fields of the
//! frame's JSON line, see [`pipeline::json`].

use super::schema::{self, Misfit};
use cel::common::ast::SourceInfo;
use cel::{Context, Env, ExecutionError, ParseError, Program, Value};
use serde_json::Value as Json;
use std::collections::HashMap;
use std::sync::Arc;

/// A condition that is ready to be asked.
pub struct Condition {
    text: Arc<str>,
    env: Arc<Env>,
    program: Program,
    /// The variables that it names.
    variables: Vec<&'static str>,
}

/// Why a condition cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("--when, {place}: {why}\n{excerpt}")]
pub struct ConditionError {
    place: String,
    why: String,
    /// The line, and a mark under the place.
    excerpt: String,
}

impl std::fmt::Debug for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Condition").field(&self.text).finish()
    }
}

impl Condition {
    /// Checks all that can be known before the first frame: grammar, names, and that it is true or false.
    pub fn compile(text: &str) -> Result<Self, ConditionError> {
        if text.trim().is_empty() {
            let why = "it is empty: say what has to be true, e.g. results.size() > 0".to_owned();
            return Err(ConditionError::at(text, 0, why));
        }
        let env = Arc::new(Env::stdlib());
        let program = env.compile(text).map_err(|all| match all.errors.first() {
            Some(error) => ConditionError::of_grammar(text, error),
            None => ConditionError::at(text, 0, "it cannot be parsed".to_owned()),
        })?;
        schema::check(program.expression())
            .map_err(|misfit| ConditionError::of_name(text, program.source_info(), &misfit))?;
        let references = program.references();
        let names = schema::FRAME.iter().map(|(name, _)| *name);
        let variables = names.filter(|name| references.has_variable(name)).collect();
        let condition = Self {
            text: text.into(),
            variables,
            env,
            program,
        };
        condition.try_out()?;
        Ok(condition)
    }

    /// As it was given.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Whether it holds for the frame of this JSON line. An error says why that cannot be told, e.g. because an attribute
    /// is not there.
    pub fn holds(&self, line: &Json) -> Result<bool, String> {
        match self.ask(line) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err(format!("it is {}, not true or false", other.type_of())),
            Err(cause) => Err(cause.to_string()),
        }
    }

    fn ask(&self, line: &Json) -> Result<Value, ExecutionError> {
        let mut context = Context::with_env(Arc::clone(&self.env));
        for name in &self.variables {
            context.add_variable_from_value(*name, to_value(&line[*name]));
        }
        self.program.execute(&context)
    }

    /// Functions are only looked up when they are called.
    fn try_out(&self) -> Result<(), ConditionError> {
        match self.ask(&sample()) {
            Err(ExecutionError::UndeclaredReference(name)) => {
                let start = find_word(&self.text, 0, &name);
                let why = schema::no_function(&name);
                Err(ConditionError::at(&self.text, start, why))
            }
            Ok(value) if !matches!(value, Value::Bool(_)) => {
                let why = format!(
                    "a condition is true or false, and this is of type {}",
                    value.type_of()
                );
                Err(ConditionError::at(&self.text, 0, why))
            }
            _ => Ok(()),
        }
    }
}

impl ConditionError {
    fn of_grammar(text: &str, error: &ParseError) -> Self {
        let (line, column) = error.pos; // both count from 1
        let line = usize::try_from(line - 1).unwrap_or(0);
        let before: usize = text
            .split_inclusive('\n')
            .take(line)
            .map(|line| line.chars().count())
            .sum();
        let column = usize::try_from(column - 1).unwrap_or(0);
        Self::at(text, before + column, in_plain_words(&error.msg))
    }

    fn of_name(text: &str, source: &SourceInfo, misfit: &Misfit) -> Self {
        let start = source.offset_for(misfit.id);
        let start = start.map_or(0, |(start, _)| start as usize);
        let start = match misfit.word.as_str() {
            "" => start,
            word => find_word(text, start, word),
        };
        Self::at(text, start, misfit.why.clone())
    }

    /// `start` counts characters.
    fn at(text: &str, start: usize, why: String) -> Self {
        let before: String = text.chars().take(start).collect();
        let number = before.matches('\n').count();
        let column = before.chars().rev().take_while(|c| *c != '\n').count();
        let line = text.lines().nth(number).unwrap_or_default();
        Self {
            place: format!("line {}, column {}", number + 1, column + 1),
            why,
            excerpt: format!("  {line}\n  {}^", " ".repeat(column)),
        }
    }
}

/// The parser's message, and what was most likely meant.
fn in_plain_words(message: &str) -> String {
    let message = message.trim_start_matches("Syntax error: ");
    // All that could stand there is too much to read.
    let short = message.split(" expecting {").next().unwrap_or(message);
    let hint = match short.split('\'').nth(1) {
        Some("and") => "; and is written &&",
        Some("or") => "; or is written ||",
        Some("not") => "; not is written !",
        Some(word) if word.trim() == "=" => "; equal is written ==",
        Some("<EOF>") => ": it ends too soon",
        _ => "",
    };
    format!("{short}{hint}")
}

/// Where the word stands at or behind a place, in characters; the place itself if it is not there.
fn find_word(text: &str, start: usize, word: &str) -> usize {
    let is_part = |c: Option<&char>| c.is_some_and(|c| c.is_alphanumeric() || *c == '_');
    let (text, word): (Vec<char>, Vec<char>) = (text.chars().collect(), word.chars().collect());
    let is_here = |at: &usize| {
        text[*at..].starts_with(&word)
            && !is_part(text.get(at + word.len()))
            && !is_part(at.checked_sub(1).and_then(|before| text.get(before)))
    };
    // The place of a call is its bracket, behind its name.
    let (mut behind, before) = (start..text.len(), 0..start);
    behind
        .find(is_here)
        .or_else(|| before.rev().find(is_here))
        .unwrap_or(start)
}

/// All numbers that JSON writes without a point are int, so that they can be reckoned with each other.
fn to_value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => Value::Int(whole),
            None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(all) => Value::from(all.iter().map(to_value).collect::<Vec<_>>()),
        Json::Object(fields) => {
            let fields = fields.iter();
            let fields = fields.map(|(name, value)| (name.clone(), to_value(value)));
            Value::from(fields.collect::<HashMap<String, Value>>())
        }
    }
}

/// A frame with one of each, to try conditions out.
fn sample() -> Json {
    serde_json::json!({
        "topic": "topic", "partition": 0, "offset": 0, "kind": "frame", "source": "source", "epoch": 1, "sequence": 0,
        "capture_time_unix_ns": 1, "pts": 0, "codec": "jpeg", "width": 640, "height": 480, "content": "inline",
        "results": [{
            "processor": "processor", "version": "1", "status": "ok", "attempts": 1,
            "detections": [{
                "label": "label", "confidence": 0.5, "box": [0.5, 0.5, 0.5, 0.5], "track_id": 1, "text": "text",
            }],
            "attributes": {}, "error": "",
            "timing": {"queued_ns": 1, "call_ns": 1, "processing_ns": 1},
        }],
        "stamps": [{"stage": "producer", "entered_unix_ns": 1, "left_unix_ns": 2}],
        "labels": {},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Json {
        let mut frame = sample();
        frame["results"][0]["detections"] = serde_json::json!([
            {"label": "person", "confidence": 0.6, "box": [1.0, 2.0, 30.0, 40.0], "track_id": 7, "text": ""},
            {"label": "car", "confidence": 0.9, "box": null, "track_id": 0, "text": "B XY 12"},
        ]);
        frame["results"][0]["attributes"] =
            serde_json::json!({"zone": {"name": "door"}, "count": 3.0});
        frame["labels"] = serde_json::json!({"site": "north"});
        frame
    }

    #[test]
    fn conditions_are_about_what_the_json_line_shows() {
        for (text, expected) in [
            (
                r#"results.exists(r, r.detections.exists(d, d.label == "person" && d.confidence > 0.5))"#,
                true,
            ),
            (
                r#"results.exists(r, r.detections.exists(d, d.label == "person" && d.confidence > 0.6))"#,
                false,
            ),
            ("results[0].detections.exists(d, d.track_id == 7)", true),
            (
                "results[0].detections.filter(d, d.confidence > 0.5).size() == 2",
                true,
            ),
            (
                "size(results[0].detections) - 1 == 1 && width > height",
                true,
            ),
            (
                r#"results.all(r, r.status == "ok") && source.startsWith("sou")"#,
                true,
            ),
            (
                r#"results[0].detections.exists(d, d.text.matches("^[A-Z]+ [A-Z]+ [0-9]+$"))"#,
                true,
            ),
            (
                r#"results[0].attributes.zone.name == "door" && results[0].attributes.count >= 3"#,
                true,
            ),
            (
                r#"has(results[0].attributes.none) || labels.site == "south""#,
                false,
            ),
            (
                "results[0].detections[0].box[2] * results[0].detections[0].box[3] > 1000.0",
                true,
            ),
            (
                "results[0].detections.map(d, d.label).exists(l, l in ['cat', 'car'])",
                true,
            ),
            ("results.exists(r, r.timing.call_ns > 100 * 1000)", false),
            ("results.size() > 0 ? offset == 0 : false", true),
        ] {
            let condition = Condition::compile(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(condition.holds(&frame()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_told_is_an_error_that_says_why() {
        for (text, word) in [
            ("results[0].attributes.none > 3", "none"),
            ("results[3].status == 'ok'", "3"),
            ("results[0].attributes.count", "not true or false"),
        ] {
            let condition = Condition::compile(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            let error = condition.holds(&frame()).expect_err(text);
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_wrong_is_shown_with_its_place() {
        for (text, place, word) in [
            ("", "line 1, column 1", "it is empty"),
            ("width >", "line 1, column 8", "ends too soon"),
            (
                "results.exist(r, r.status == \"ok\")",
                "line 1, column 9",
                "no function \"exist\"; there are has, exists,",
            ),
            ("results.exists(r)", "line 1, column 9", "takes a name"),
            ("source.startWith('cam')", "line 1, column 8", "startsWith"),
            (
                "sequence > 'a'",
                "line 1, column 10",
                "a number is compared with a text",
            ),
            (
                "width > 3 and height > 3",
                "line 1, column 11",
                "written &&",
            ),
            ("source = 'a'", "line 1, column 8", "written =="),
            (
                "results.exists(r, r.status == \"ok\"",
                "line 1, column 35",
                "",
            ),
            (
                "results.exists(r, r.status == 'ok') &&\n  width >> 3",
                "line 2, column 10",
                "",
            ),
            ("result.exists(r, true)", "line 1, column 1", "results"),
            (
                "results.exists(r, r.detection.size() > 0)",
                "line 1, column 21",
                "detections",
            ),
            (
                "results.exists(r, has(r.lable))",
                "line 1, column 25",
                "no \"lable\"",
            ),
            ("results.status == 'ok'", "line 1, column 9", ".exists("),
            (
                "results.exists(r, r.detections.exists(d, r.label == 'x'))",
                "line 1, column 44",
                "a result has no",
            ),
            ("width > 3 && r.x", "line 1, column 14", "no \"r\""),
            (
                "results.exists(r, sizeof(r.detections) > 3)",
                "line 1, column 19",
                "function",
            ),
            (
                "width > 3 && source.matches('cam(')",
                "line 1, column 29",
                "unclosed group",
            ),
            ("size(results)", "line 1, column", "a number"),
            ("source", "line 1, column 1", "a text"),
            ("labels", "line 1, column 1", "true or false"),
        ] {
            let error = Condition::compile(text).expect_err(text).to_string();
            assert!(
                error.contains(place) && error.contains(word),
                "{text}: {error}"
            );
            assert!(error.ends_with('^'), "{error}");
        }
    }
}
