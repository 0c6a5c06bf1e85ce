//! From entities to rows and back: the only place where both are named.

use super::{
    entity::{attempt, image, job, key, upload},
    model::{Attempt, Image, Job, Key, Phase, Plan, State, Upload},
    words::fitted,
};
use plugin_api::value::Money;
use sea_orm::ActiveValue::Set;

fn money(micros: Option<i64>, currency: Option<&str>) -> Option<Money> {
    let currency = currency.filter(|c| c.len() == 3 && c.bytes().all(|b| b.is_ascii_uppercase()))?;
    Some(Money::micros(micros?, currency))
}

impl From<job::Model> for Job {
    fn from(m: job::Model) -> Job {
        let currency = m.currency.as_deref();
        let phase = match m.phase.as_deref() {
            Some("submitting") => Some(Phase::Submitting),
            Some("waiting") => Some(Phase::Waiting),
            Some("storing") => Some(Phase::Storing),
            _ => None,
        };
        Job {
            reserved: money(m.reserved, currency),
            cost: money(m.cost, currency),
            id: m.id,
            batch_id: m.batch_id,
            team: m.team,
            key_id: m.key_id,
            tool: m.tool,
            request: m.request,
            prompt: m.prompt,
            model: m.model,
            plan: serde_json::from_value::<Plan>(m.plan).unwrap_or_default(),
            target: usize::try_from(m.target).unwrap_or(0),
            instance: m.instance,
            file_prefix: m.file_prefix,
            state: State::from_code(m.state),
            phase,
            error_code: m.error_code,
            error: m.error,
            created_us: m.created,
            updated_us: m.updated,
            finished_us: m.finished,
            deadline_us: m.deadline,
            lease_epoch: m.lease_epoch,
            attempts_made: m.attempts_made,
            next_run_us: m.next_run,
            priority: m.priority,
            cancel_requested: m.cancel_requested,
            adjustments: m.adjustments,
        }
    }
}

/// A new row; the lease is the caller's to set.
pub(super) fn job_row(job: &Job) -> job::ActiveModel {
    let money = job.reserved.or(job.cost);
    job::ActiveModel {
        id: Set(job.id),
        batch_id: Set(job.batch_id),
        team: Set(job.team.clone()),
        key_id: Set(job.key_id.clone()),
        tool: Set(job.tool.clone()),
        request: Set(job.request.clone()),
        prompt: Set(job.prompt.clone()),
        model: Set(job.model.clone()),
        plan: Set(serde_json::to_value(&job.plan).unwrap_or_default()),
        target: Set(job.target as i32),
        instance: Set(job.instance.clone()),
        file_prefix: Set(job.file_prefix.clone()),
        state: Set(job.state.code()),
        phase: Set(job.phase.map(|p| p.as_str().to_owned())),
        error_code: Set(job.error_code.clone()),
        error: Set(job.error.clone()),
        priority: Set(job.priority),
        created: Set(job.created_us),
        updated: Set(job.updated_us),
        finished: Set(job.finished_us),
        deadline: Set(job.deadline_us),
        lease_owner: Set(None),
        lease_until: Set(0),
        lease_epoch: Set(job.lease_epoch),
        attempts_made: Set(job.attempts_made),
        next_run: Set(job.next_run_us),
        cancel_requested: Set(job.cancel_requested),
        reserved: Set(job.reserved.map(|m| m.amount_micros)),
        cost: Set(job.cost.map(|m| m.amount_micros)),
        currency: Set(money.map(|m| m.currency().to_owned())),
        adjustments: Set(job.adjustments.clone()),
    }
}

impl From<attempt::Model> for Attempt {
    fn from(m: attempt::Model) -> Attempt {
        Attempt {
            id: m.id,
            job_id: m.job_id,
            number: m.number,
            epoch: m.epoch,
            instance: m.instance,
            vendor_model: m.vendor_model,
            class: m.class,
            started_us: m.started,
            ticket: m.ticket,
            ticket_us: m.ticket_at,
            ended_us: m.ended,
            outcome: m.outcome,
            vendor_status: m.vendor_status,
            vendor_code: m.vendor_code,
            vendor_request_id: m.vendor_request_id,
            spend: m.spend,
        }
    }
}

/// A new, open attempt.
pub(super) fn attempt_row(attempt: &Attempt) -> attempt::ActiveModel {
    attempt::ActiveModel {
        id: Set(attempt.id),
        job_id: Set(attempt.job_id),
        number: Set(attempt.number),
        epoch: Set(attempt.epoch),
        instance: Set(attempt.instance.clone()),
        vendor_model: Set(attempt.vendor_model.clone()),
        class: Set(attempt.class.clone()),
        started: Set(attempt.started_us),
        ticket: Set(None),
        ticket_at: Set(None),
        ended: Set(None),
        outcome: Set(None),
        vendor_status: Set(None),
        vendor_code: Set(None),
        vendor_request_id: Set(None),
        spend: Set(None),
        open_job: Set(Some(attempt.job_id)),
    }
}

impl From<image::Model> for Image {
    fn from(m: image::Model) -> Image {
        Image {
            id: m.id,
            job_id: m.job_id,
            position: m.position,
            team: m.team,
            object_key: m.object_key,
            mime: m.mime,
            width: m.width,
            height: m.height,
            bytes: m.bytes,
            sha256: m.sha256,
            revised_prompt: m.revised_prompt,
            seed: m.seed,
            created_us: m.created,
            expires_us: m.expires,
            deleted_us: m.deleted,
        }
    }
}

pub(super) fn image_row(image: &Image) -> image::ActiveModel {
    image::ActiveModel {
        id: Set(image.id),
        job_id: Set(image.job_id),
        position: Set(image.position),
        team: Set(image.team.clone()),
        object_key: Set(image.object_key.clone()),
        mime: Set(image.mime.clone()),
        width: Set(image.width),
        height: Set(image.height),
        bytes: Set(image.bytes),
        sha256: Set(image.sha256.clone()),
        revised_prompt: Set(image.revised_prompt.as_deref().map(|text| fitted(text, usize::MAX))),
        seed: Set(image.seed),
        created: Set(image.created_us),
        expires: Set(image.expires_us),
        deleted: Set(image.deleted_us),
    }
}

impl From<upload::Model> for Upload {
    fn from(m: upload::Model) -> Upload {
        Upload {
            id: m.id,
            team: m.team,
            key_id: m.key_id,
            object_key: m.object_key,
            mime: m.mime,
            width: m.width,
            height: m.height,
            bytes: m.bytes,
            created_us: m.created,
            expires_us: m.expires,
        }
    }
}

pub(super) fn upload_row(upload: &Upload) -> upload::ActiveModel {
    upload::ActiveModel {
        id: Set(upload.id),
        team: Set(upload.team.clone()),
        key_id: Set(upload.key_id.clone()),
        object_key: Set(upload.object_key.clone()),
        mime: Set(upload.mime.clone()),
        width: Set(upload.width),
        height: Set(upload.height),
        bytes: Set(upload.bytes),
        created: Set(upload.created_us),
        expires: Set(upload.expires_us),
    }
}

impl From<key::Model> for Key {
    fn from(m: key::Model) -> Key {
        Key {
            id: m.id,
            team: m.team,
            hash: m.hash,
            hint: m.hint,
            scopes: m.scopes,
            created_us: m.created,
            expires_us: m.expires,
            revoked_us: m.revoked,
            old: m.old_hash.zip(m.old_until),
            used_us: m.used,
        }
    }
}
