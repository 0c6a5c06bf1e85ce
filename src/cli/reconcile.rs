//! `jobs reconcile`: what became of calls whose outcome nobody knew.

use super::{Gateway, output};
use crate::{
    config::Config,
    store::Job,
    telemetry::{Clock as _, SystemClock},
};
use anyhow::{anyhow, bail};
use plugin_api::value::Money;
use uuid::Uuid;

/// Most jobs that are listed.
const MOST: u64 = 1_000;

/// Settle jobs that ended as `outcome_unknown`; without an id, list them
///
/// A call was out, and its answer was lost: perhaps the vendor charged it. What was reserved for it stays held until
/// somebody has looked at the vendor's console and says what it was:
///   image-gateway jobs reconcile                              which they are, and what is at risk
///   image-gateway jobs reconcile ID --charged                 it was charged, at the price that is held
///   image-gateway jobs reconcile ID --charged "0.04 USD"      it was charged so much
///   image-gateway jobs reconcile ID --free                    it was not charged
/// `jobs show ID` has the vendor, the time and the vendor's request id.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Id of the job
    #[arg(value_parser = super::jobs::job_id)]
    id: Option<Uuid>,
    /// The vendor charged it: this amount, else what is held
    #[arg(long, value_name = "AMOUNT", num_args = 0..=1, default_missing_value = "", requires = "id", conflicts_with = "free")]
    charged: Option<String>,
    /// The vendor did not charge it
    #[arg(long, requires = "id")]
    free: bool,
}

pub async fn run(gateway: &Gateway, config: &Config, args: &Args) -> anyhow::Result<()> {
    let store = gateway.existing_store(config).await?;
    let Some(id) = args.id else {
        output::print(&listing(&store.unreconciled(MOST).await?, SystemClock.now_us()));
        return Ok(());
    };
    let Some(rows) = store.any_job(id).await? else {
        bail!("there is no job {id}; `image-gateway jobs reconcile` lists those that can be settled")
    };
    let charged = match (&args.charged, args.free) {
        (None, true) => 0,
        (Some(text), _) => amount(text, &rows.job)?,
        (None, false) => bail!("say what became of it: --charged, --charged AMOUNT or --free"),
    };
    match store.reconcile(id, charged).await? {
        Some(job) => {
            let cost = output::money(job.cost);
            output::print(&format!("Job {id} is settled at {cost}; nothing is held for it any more.\n"));
            Ok(())
        }
        None => bail!("job {id} needs no settling: `image-gateway jobs show {id}` tells what it came to"),
    }
}

/// Micro-units in the job's currency.
fn amount(text: &str, job: &Job) -> anyhow::Result<i64> {
    let held = job.reserved;
    if text.is_empty() {
        let held = held.ok_or_else(|| anyhow!("no price is known for it; say --charged AMOUNT"))?;
        return Ok(held.amount_micros);
    }
    let money: Money = text.parse().map_err(|error| anyhow!("--charged: {error}"))?;
    match held {
        Some(held) if held.currency() != money.currency() => {
            bail!("--charged: this job counts in {}; give the amount in it", held.currency())
        }
        _ => Ok(money.amount_micros),
    }
}

fn listing(jobs: &[Job], now_us: i64) -> String {
    if jobs.is_empty() {
        return "Every outcome is known.\n".into();
    }
    let row = |job: &Job| {
        let to = job.target().map_or(job.model.clone(), |t| format!("{}/{}", t.instance, t.vendor_model));
        let age = output::span((now_us - job.created_us).max(0));
        vec![job.id.to_string(), job.team.clone(), to, age, output::money(job.reserved)]
    };
    let rows: Vec<_> = jobs.iter().map(row).collect();
    output::table(&["ID", "TEAM", "CALL", "AGE", "AT RISK"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_what_is_held_or_in_the_same_currency() {
        let job = |reserved| Job { reserved, ..super::super::jobs::sample() };
        let held = job(Some(Money::micros(40_000, "USD")));
        assert_eq!(amount("", &held).unwrap(), 40_000);
        assert_eq!(amount("0.02 USD", &held).unwrap(), 20_000);
        assert!(amount("1 EUR", &held).unwrap_err().to_string().contains("USD"));
        assert!(amount("much", &held).unwrap_err().to_string().contains("--charged"));
        assert!(amount("", &job(None)).unwrap_err().to_string().contains("AMOUNT"));
        assert!(listing(&[held], i64::MAX).contains("0.04 USD"));
        assert_eq!(listing(&[], 0), "Every outcome is known.\n");
    }
}
