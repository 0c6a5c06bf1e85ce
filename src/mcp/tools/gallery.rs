//! `list_generations`, `get_image_data` and `delete_image`.

use super::{
    Answer, Cx,
    arguments::Arguments,
    paging::Paging,
    results::{self, Failure, GenerationRow, Generations, ImageData, ImageDeleted, ms},
    waiting,
};
use crate::{
    jobs::{Code, Deletion, JobView, Object, Refused, image_id},
    mcp::{Return, errors::ToolError},
    store::{Filter, Image},
    telemetry::utc,
};

pub async fn list_generations(cx: Cx<'_>, mut args: Arguments) -> Result<Answer, ToolError> {
    let deleted = args.flag("deleted")?.unwrap_or(false);
    let paging = Paging::read(cx, &mut args, ("list_generations", if deleted { "deleted" } else { "" }))?;
    let wanted = Filter { deleted, ..paging.filter.clone() };
    let page = cx.inner.backend.generations(&wanted, paging.window).await?;
    let row = |(image, view): &(Image, JobView)| GenerationRow {
        id: image.id,
        job_id: image.job_id,
        image_url: image.deleted_us.map_or_else(|| cx.inner.backend.link(image).url, |_| String::new()),
        prompt: results::prompt(view),
        model: view.job.model.clone(),
        created_at: ms(image.created_us),
        local_path: cx.local_path(image).filter(|_| image.deleted_us.is_none()),
        deleted_at: image.deleted_us.map(ms),
    };
    let generations: Vec<GenerationRow> = page.rows.iter().map(row).collect();
    Answer::of(&Generations {
        success: true,
        total_count: page.total,
        returned_count: generations.len(),
        has_more: page.next.is_some(),
        limit: paging.window.limit,
        offset: paging.window.offset,
        generations,
        total_is_minimum: page.total_is_minimum,
        next_cursor: page.next.map(|last| paging.cursor(last)),
        adjustments: args.unknown(),
    })
}

/// Somebody else's image answers as one that does not exist.
fn not_found(id: String) -> Result<Answer, ToolError> {
    let failure = Failure::from(Refused::new(Code::NotFound, "Image not found"));
    Answer::failure(&Failure { image_id: Some(id), ..failure })
}

pub async fn delete_image(cx: Cx<'_>, mut args: Arguments) -> Result<Answer, ToolError> {
    let Some(asked) = args.text("image_id", 200)? else {
        return Err(args.missing("image_id", "the id of an image").into());
    };
    let found = match image_id(&asked) {
        Some(id) => cx.inner.backend.delete_image(cx.call.team(), id).await?,
        None => None,
    };
    let Some(Deletion { image, anew, object }) = found else { return not_found(asked) };
    let at = image.deleted_us.unwrap_or_default();
    let message = match (anew, object) {
        (false, _) => format!("It was deleted before, on {}.", utc(at)),
        (true, Object::Removed) => "The image is deleted; its links work no more.".to_owned(),
        (true, Object::Shared) => {
            "The image is deleted; another image has the same bytes and keeps them.".to_owned()
        }
        (true, Object::Later) => {
            "The image is deleted; its links work no more. Storage frees its bytes later.".to_owned()
        }
    };
    Answer::of(&ImageDeleted {
        success: true,
        image_id: image.id,
        job_id: image.job_id,
        deleted_at: ms(at),
        message,
        adjustments: args.unknown(),
    })
}

pub async fn get_image_data(cx: Cx<'_>, mut args: Arguments) -> Result<Answer, ToolError> {
    let Some(asked) = args.text("image_id", 200)? else {
        return Err(args.missing("image_id", "the id of an image").into());
    };
    let delivery = waiting::delivery(cx, &mut args, Some(Return::Full))?;
    let found = match image_id(&asked) {
        Some(id) => cx.inner.backend.image(cx.call.team(), id).await?,
        None => None,
    };
    let Some((image, view)) = found else { return not_found(asked) };
    if let Some(at) = image.deleted_us {
        let text = format!("This image was deleted on {}; it cannot be had back.", utc(at));
        let failure = Failure::from(Refused::new(Code::NotFound, text));
        return Answer::failure(&Failure { image_id: Some(asked), deleted_at: Some(ms(at)), ..failure });
    }
    let (copy, note) = cx.copy(&image, delivery, cx.inner.settings.load().full_max.0).await?;
    let mut adjustments = args.unknown();
    adjustments.extend(note);
    let mut blocks: Vec<_> = copy.into_iter().collect();
    blocks.extend(cx.resource_link(&image, &view));
    let object = ImageData { success: true, image: cx.image(&image, &view), adjustments };
    Ok(Answer::of(&object)?.with(blocks))
}
