//! `migrate`: the database's schema.

use super::{Gateway, options, output};
use std::process::ExitCode;

pub async fn run(gateway: &Gateway) -> anyhow::Result<ExitCode> {
    let loaded = gateway.load()?;
    let data_dir = gateway.data_dir();
    options::open_store(&loaded.config, &data_dir).await?;
    let address = crate::store::Address::parse(&loaded.config.database.url, &data_dir)?;
    output::print(&format!("The database {address} is up to date.\n"));
    Ok(ExitCode::SUCCESS)
}
