//! `usage`: what was made, what it cost and what failed, of every team, from the database itself.

use super::{Gateway, output, output::JsonMoney};
use crate::{
    store::{By, Filter, Used},
    telemetry::{Clock as _, SystemClock},
};
use plugin_api::value::Money;
use std::process::ExitCode;

/// Show images, spend and failures by team, key, model, provider or day
///
/// Counted are the jobs made in that time, as far as they are remembered: jobs without an image are forgotten after
/// `jobs.retention`, those with one when the image is. So the figures of a time long ago become less. Days are UTC.
///   image-gateway usage --since 7d --by day
///   image-gateway usage --team design --by key --csv
/// Spend is what vendors charged; HELD is what is held for jobs under way and for those whose outcome is unknown.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Only this team's
    #[arg(long)]
    team: Option<String>,
    /// Only jobs made since: a day, a time, or how long ago (2026-11-21, 2026-11-21T12:00:00Z, 24h, 7d)
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Only those made until then; a day counts whole
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// What makes a line: team, key, model, provider or day
    #[arg(long, default_value = "team", value_name = "GROUP", value_parser = group)]
    by: By,
    /// Print JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV (RFC 4180); money in micro-units
    #[arg(long)]
    csv: bool,
}

fn group(text: &str) -> Result<By, String> {
    By::ALL
        .into_iter()
        .find(|by| by.as_str() == text)
        .ok_or_else(|| format!("it is one of {}", By::ALL.map(By::as_str).join(", ")))
}

pub async fn run(gateway: &Gateway, args: &Args) -> anyhow::Result<ExitCode> {
    let config = gateway.load()?.config;
    let now_us = SystemClock.now_us();
    let (since_us, until_us) = super::jobs::period(args.since.as_deref(), args.until.as_deref(), now_us)?;
    let filter = Filter { team: args.team.clone(), since_us, until_us, ..Filter::default() };
    let rows = gateway.existing_store(&config).await?.usage(&filter, args.by).await?;
    if args.json {
        let rows: Vec<_> = rows.iter().map(Json::of).collect();
        output::print_json(&serde_json::json!({"by": args.by.as_str(), "rows": rows}));
    } else if args.csv {
        output::print(&csv(&rows, args.by));
    } else {
        output::print(&table(&rows, args.by));
    }
    Ok(ExitCode::SUCCESS)
}

/// A group and a currency, for programs.
#[derive(serde::Serialize)]
struct Json<'a> {
    name: &'a str,
    currency: Option<&'a str>,
    jobs: u64,
    images: u64,
    failed: u64,
    unknown: u64,
    spend: Option<JsonMoney>,
    held: Option<JsonMoney>,
}

impl Json<'_> {
    fn of(used: &Used) -> Json<'_> {
        let Used { group, currency, jobs, images, failed, unknown, spent, held } = used;
        let money = |amount| money(used, amount).map(JsonMoney::from);
        Json {
            name: group,
            currency: currency.as_deref(),
            jobs: *jobs,
            images: *images,
            failed: *failed,
            unknown: *unknown,
            spend: money(*spent),
            held: money(*held),
        }
    }
}

fn money(used: &Used, amount: i64) -> Option<Money> {
    used.currency.as_deref().map(|currency| Money::micros(amount, currency))
}

fn table(rows: &[Used], by: By) -> String {
    if rows.is_empty() {
        return "No jobs are remembered of that time.\n".into();
    }
    let row = |used: &Used| {
        let counts = [used.jobs, used.images, used.failed, used.unknown].map(|n| n.to_string());
        let money = [used.spent, used.held].map(|amount| output::money(money(used, amount)));
        [used.group.clone()].into_iter().chain(counts).chain(money).collect()
    };
    let rows: Vec<Vec<String>> = rows.iter().map(row).collect();
    let by = by.as_str().to_uppercase();
    output::table(&[&by, "JOBS", "IMAGES", "FAILED", "UNKNOWN", "SPEND", "HELD"], &rows)
}

fn csv(rows: &[Used], by: By) -> String {
    let mut text = format!("{by},currency,jobs,images,failed,unknown,spend_micros,held_micros\r\n");
    for used in rows {
        let Used { group, currency, jobs, images, failed, unknown, spent, held } = used;
        let (group, currency) = (field(group), currency.as_deref().unwrap_or_default());
        text += &format!("{group},{currency},{jobs},{images},{failed},{unknown},{spent},{held}\r\n");
    }
    text
}

/// In quotes where it has to be. What a spreadsheet would take for a formula gets a `'` first: the name of a key can
/// come from an issuer's token.
fn field(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    match text.contains([',', '"', '\r', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(group: &str, currency: Option<&str>) -> Used {
        let currency = currency.map(str::to_owned);
        Used {
            group: group.into(),
            currency,
            jobs: 3,
            images: 2,
            failed: 1,
            spent: 80_000,
            ..Used::default()
        }
    }

    #[test]
    fn a_table_has_money_and_csv_has_micro_units() {
        let rows = [used("design", Some("USD")), used("ops", None)];
        let table = table(&rows, By::Team);
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["TEAM", "JOBS", "IMAGES", "FAILED", "UNKNOWN", "SPEND", "HELD"]);
        assert_eq!(lines[1][..7], ["design", "3", "2", "1", "0", "0.08", "USD"]);
        assert_eq!(lines[2][5..], ["-", "-"]);
        assert_eq!(
            csv(&rows, By::Team),
            "team,currency,jobs,images,failed,unknown,spend_micros,held_micros\r\n\
             design,USD,3,2,1,0,80000,0\r\nops,,3,2,1,0,80000,0\r\n"
        );
    }

    #[test]
    fn a_name_stays_one_field_and_is_no_formula() {
        for (name, written) in [
            ("design", "design"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("=1+1@issuer", "'=1+1@issuer"),
            ("-1,2", "\"'-1,2\""),
        ] {
            assert_eq!(field(name), written);
        }
    }
}
