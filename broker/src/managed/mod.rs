use clap::Args;
#[derive(Debug, Clone, Args)]
pub struct ManagedArgs {
    #[arg(long)]
    pub managed: bool,
}
#[derive(Debug, Clone)]
pub struct ManagedConfig;
impl TryFrom<crate::args::Args> for ManagedConfig {
    type Error = anyhow::Error;
    fn try_from(_: crate::args::Args) -> anyhow::Result<Self> {
        Ok(Self)
    }
}
pub async fn run(_: ManagedConfig, _: tokio_util::sync::CancellationToken) -> anyhow::Result<()> {
    Ok(())
}
