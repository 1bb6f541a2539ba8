//! `framelane assign`.

use crate::args::{Access, AssignArgs};
use crate::session::{self, plain, print};
use registry::model::Assignment;
use registry::{Change, Object};

pub async fn run(access: Access, args: AssignArgs) -> anyhow::Result<()> {
    let sources = if args.none { Vec::new() } else { args.sources };
    let registry = session::open(access).await?;
    let view = registry.view();
    let mut object = Object::new(args.consumer, Assignment { sources });
    if let Some(present) = view.get(&object.key()) {
        object.labels = present.labels;
    }
    let seen = view.objects().version(&object.key());
    let written = registry
        .write(&[Change::put(object, seen)])
        .await
        .map_err(plain)?;
    let lines = written.iter().map(|one| {
        format!(
            "{} {} (version {})\n",
            one.key,
            one.outcome.word(),
            one.version
        )
    });
    print(&lines.collect::<String>())
}
