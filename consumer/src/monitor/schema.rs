//! Whether an expression can mean anything: its names are those of a frame's JSON line. What an author of an expression
//! mistypes is found before the first frame, with the place.

use Shape::{Any, Bool, Fields, List, Number, Text};
use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use regex::Regex;

/// What a part of an expression stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// Anything, e.g. what a processor has put into its attributes.
    Any,
    Bool,
    Number,
    Text,
    List(&'static Shape),
    /// A name for people, and the fields.
    Fields(&'static str, &'static [(&'static str, Shape)]),
}

/// The variables of an expression: what a frame's JSON line has.
pub const FRAME: &[(&str, Shape)] = &[
    ("topic", Text),
    ("partition", Number),
    ("offset", Number),
    ("kind", Text),
    ("source", Text),
    ("epoch", Number),
    ("sequence", Number),
    ("capture_time_unix_ns", Number),
    ("pts", Number),
    ("codec", Text),
    ("width", Number),
    ("height", Number),
    ("content", Text),
    ("results", List(&RESULT)),
    ("stamps", List(&STAMP)),
    ("labels", Any),
];

const RESULT: Shape = Fields(
    "a result",
    &[
        ("processor", Text),
        ("version", Text),
        ("status", Text),
        ("attempts", Number),
        ("detections", List(&DETECTION)),
        ("attributes", Any),
        ("error", Text),
        ("timing", TIMING),
    ],
);

const DETECTION: Shape = Fields(
    "a detection",
    &[
        ("label", Text),
        ("confidence", Number),
        ("box", List(&Number)),
        ("track_id", Number),
        ("text", Text),
    ],
);

const TIMING: Shape = Fields(
    "a timing",
    &[
        ("queued_ns", Number),
        ("call_ns", Number),
        ("processing_ns", Number),
    ],
);

const STAMP: Shape = Fields(
    "a stamp",
    &[
        ("stage", Text),
        ("entered_unix_ns", Number),
        ("left_unix_ns", Number),
    ],
);

/// A part of an expression that means nothing.
#[derive(Debug, PartialEq)]
pub struct Misfit {
    /// The part's number in the parsed expression.
    pub id: u64,
    /// The word in it that is wrong; empty: all of it.
    pub word: String,
    /// Why, for people.
    pub why: String,
}

impl Misfit {
    fn new(expression: &IdedExpr, word: &str, why: String) -> Self {
        Self {
            id: expression.id,
            word: word.to_owned(),
            why,
        }
    }
}

/// Checks that an expression is a condition about a frame.
pub fn check(expression: &IdedExpr) -> Result<(), Misfit> {
    match shape_of(expression, &mut Vec::new())? {
        Any | Bool => Ok(()),
        other => {
            let why = format!("a condition is true or false, and this is {}", other.word());
            Err(Misfit::new(expression, "", why))
        }
    }
}

impl Shape {
    fn word(self) -> &'static str {
        match self {
            Any => "anything",
            Bool => "true or false",
            Number => "a number",
            Text => "a text",
            List(_) => "a list",
            Fields(name, _) => name,
        }
    }

    fn element(self) -> Self {
        match self {
            List(element) => *element,
            _ => Any,
        }
    }
}

/// Variables of the macros around, the innermost last.
type Scope = Vec<(String, Shape)>;

fn shape_of(expression: &IdedExpr, scope: &mut Scope) -> Result<Shape, Misfit> {
    match &expression.expr {
        Expr::Ident(name) => variable(expression, name, scope),
        Expr::Select(select) => {
            let shape = shape_of(&select.operand, scope)?;
            let field = field_of(expression, shape, &select.field)?;
            Ok(if select.test { Bool } else { field })
        }
        Expr::Call(call) => {
            if MACROS.contains(&call.func_name.as_str()) {
                return Err(Misfit::new(
                    expression,
                    &call.func_name,
                    macro_of(&call.func_name),
                ));
            }
            let mut shapes = Vec::new();
            for part in call.target.as_deref().into_iter().chain(&call.args) {
                // Of two faults the other may come from this one: `results.exist(r, ...)`.
                shapes.push(shape_of(part, scope).map_err(|misfit| {
                    match is_no_function(&call.func_name) {
                        true => {
                            Misfit::new(expression, &call.func_name, no_function(&call.func_name))
                        }
                        false => misfit,
                    }
                })?);
            }
            if call.func_name == "matches" {
                call.args.iter().try_for_each(pattern)?;
            }
            compare(expression, &call.func_name, &shapes)?;
            Ok(result_of(&call.func_name, &shapes))
        }
        Expr::Comprehension(all) => {
            let element = shape_of(&all.iter_range, scope)?.element();
            let result = shape_of(&all.accu_init, scope)?;
            let outside = scope.len();
            scope.push((all.iter_var.clone(), element));
            scope.extend(all.iter_var2.clone().map(|name| (name, Any)));
            scope.push((all.accu_var.clone(), Any));
            for part in [&all.loop_cond, &all.loop_step, &all.result] {
                shape_of(part, scope)?;
            }
            scope.truncate(outside);
            Ok(if result == Bool { Bool } else { Any })
        }
        Expr::List(list) => all_of(list.elements.iter(), scope),
        Expr::Map(map) => parts_of(map.entries.iter().map(|entry| &entry.expr), scope),
        Expr::Struct(one) => parts_of(one.entries.iter().map(|entry| &entry.expr), scope),
        Expr::Literal(literal) => Ok(match literal {
            LiteralValue::Boolean(_) => Bool,
            LiteralValue::Double(_) | LiteralValue::Int(_) | LiteralValue::UInt(_) => Number,
            LiteralValue::String(_) => Text,
            LiteralValue::Bytes(_) | LiteralValue::Null => Any,
        }),
        Expr::Unspecified => Ok(Any),
    }
}

/// A number is never a text: it can only be a mistake.
fn compare(expression: &IdedExpr, function: &str, shapes: &[Shape]) -> Result<(), Misfit> {
    let is_comparison = matches!(
        function,
        operators::EQUALS
            | operators::NOT_EQUALS
            | operators::GREATER
            | operators::GREATER_EQUALS
            | operators::LESS
            | operators::LESS_EQUALS
    );
    match shapes {
        [a @ (Bool | Number | Text), b @ (Bool | Number | Text)] if is_comparison && a != b => {
            let why = format!("{} is compared with {}", a.word(), b.word());
            Err(Misfit::new(expression, "", why))
        }
        _ => Ok(()),
    }
}

/// CEL's macros: called otherwise than they are defined, they are left as functions that nobody knows.
const MACROS: [&str; 7] = [
    "has",
    "exists",
    "all",
    "exists_one",
    "existsOne",
    "map",
    "filter",
];
const FUNCTIONS: [&str; 13] = [
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "size",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "bool",
    "dyn",
    "type",
];

fn macro_of(name: &str) -> String {
    match name {
        "has" => "has takes one field: has(results[0].error)".to_owned(),
        _ => format!(
            "{name} takes a name and what is said of it: results.{name}(r, r.status == \"ok\")"
        ),
    }
}

/// False for operators, whose names begin otherwise, and for what CEL knows beyond the common ones.
fn is_no_function(name: &str) -> bool {
    name.starts_with(char::is_alphabetic) && !FUNCTIONS.contains(&name)
}

/// What is said of a name that is no function's.
pub fn no_function(name: &str) -> String {
    format!(
        "there is no function {name:?}; there are {}, {}",
        MACROS.join(", "),
        FUNCTIONS.join(", ")
    )
}

/// A pattern that is written out must be one; what is computed shows with the frames.
fn pattern(expression: &IdedExpr) -> Result<(), Misfit> {
    let Expr::Literal(LiteralValue::String(text)) = &expression.expr else {
        return Ok(());
    };
    let Err(fault) = Regex::new(text.inner()) else {
        return Ok(());
    };
    // Several lines: the pattern, a mark under the place, and last what is wrong.
    let fault = fault.to_string();
    let fault = fault.lines().last().unwrap_or_default();
    let fault = fault.trim_start_matches("error: ");
    let why = format!("{:?} is not a regular expression: {fault}", text.inner());
    Err(Misfit::new(expression, "", why))
}

fn all_of<'a>(
    parts: impl Iterator<Item = &'a IdedExpr>,
    scope: &mut Scope,
) -> Result<Shape, Misfit> {
    for part in parts {
        shape_of(part, scope)?;
    }
    Ok(Any)
}

fn parts_of<'a>(
    entries: impl Iterator<Item = &'a EntryExpr>,
    scope: &mut Scope,
) -> Result<Shape, Misfit> {
    for entry in entries {
        match entry {
            EntryExpr::StructField(field) => drop(shape_of(&field.value, scope)?),
            EntryExpr::MapEntry(entry) => {
                shape_of(&entry.key, scope)?;
                shape_of(&entry.value, scope)?;
            }
        }
    }
    Ok(Any)
}

fn variable(expression: &IdedExpr, name: &str, scope: &Scope) -> Result<Shape, Misfit> {
    /// Names of types, to compare `type(x)` with.
    const TYPES: [&str; 9] = [
        "bool",
        "int",
        "uint",
        "double",
        "string",
        "bytes",
        "list",
        "map",
        "null_type",
    ];
    let inner = scope.iter().rev().find(|(known, _)| known == name);
    if let Some((_, shape)) = inner {
        return Ok(*shape);
    }
    if name.starts_with('@') || TYPES.contains(&name) {
        return Ok(Any);
    }
    match FRAME.iter().find(|(known, _)| *known == name) {
        Some((_, shape)) => Ok(*shape),
        None => {
            let why = format!(
                "there is no {name:?} (a text is written \"{name}\"); a frame has {}",
                names(FRAME)
            );
            Err(Misfit::new(expression, name, why))
        }
    }
}

fn field_of(expression: &IdedExpr, shape: Shape, field: &str) -> Result<Shape, Misfit> {
    let why = match shape {
        Any => return Ok(Any),
        Fields(name, fields) => match fields.iter().find(|(known, _)| *known == field) {
            Some((_, shape)) => return Ok(*shape),
            None => format!("{name} has no {field:?}; it has {}", names(fields)),
        },
        List(_) => format!(
            "a list has no {field:?}: say of which element, e.g. [0].{field} or .exists(x, x.{field} ...)"
        ),
        Bool | Number | Text => format!("{} has no {field:?}", shape.word()),
    };
    Err(Misfit::new(expression, field, why))
}

fn result_of(function: &str, shapes: &[Shape]) -> Shape {
    match function {
        operators::LOGICAL_AND
        | operators::LOGICAL_OR
        | operators::LOGICAL_NOT
        | operators::EQUALS
        | operators::NOT_EQUALS
        | operators::GREATER
        | operators::GREATER_EQUALS
        | operators::LESS
        | operators::LESS_EQUALS
        | operators::IN
        | "contains"
        | "startsWith"
        | "endsWith"
        | "matches" => Bool,
        "size" | "int" | "uint" | "double" | operators::NEGATE => Number,
        "string" => Text,
        operators::INDEX => shapes.first().map_or(Any, |shape| shape.element()),
        operators::CONDITIONAL => match shapes {
            [_, yes, no] if yes == no => *yes,
            _ => Any,
        },
        _ => Any,
    }
}

fn names(fields: &[(&str, Shape)]) -> String {
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}
