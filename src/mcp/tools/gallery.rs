//! `list_generations` and `get_image_data`.

use super::{
    Answer, Cx,
    arguments::Arguments,
    generation,
    jobs::Window,
    results::{self, Failure, GenerationRow, Generations, ImageData, ms},
    waiting,
};
use crate::{
    jobs::{Code, JobView, Refused},
    mcp::{Return, errors::ToolError},
    store::Image,
};

pub async fn list_generations(cx: Cx<'_>, mut args: Arguments) -> Result<Answer, ToolError> {
    let Window { limit, offset } = Window::read(&mut args)?;
    let page = cx.inner.backend.generations(cx.call.team(), limit, offset).await?;
    let row = |(image, view): &(Image, JobView)| GenerationRow {
        id: image.id,
        job_id: image.job_id,
        image_url: cx.inner.backend.link(image).url,
        prompt: results::prompt(view),
        model: view.job.model.clone(),
        created_at: ms(image.created_us),
        local_path: cx.local_path(image),
    };
    let generations: Vec<GenerationRow> = page.rows.iter().map(row).collect();
    Answer::of(&Generations {
        success: true,
        total_count: page.total,
        returned_count: generations.len(),
        has_more: page.has_more,
        limit,
        offset,
        generations,
        total_is_minimum: page.total_is_minimum,
        adjustments: args.unknown(),
    })
}

pub async fn get_image_data(cx: Cx<'_>, mut args: Arguments) -> Result<Answer, ToolError> {
    let Some(asked) = args.text("image_id", 200)? else {
        return Err(args.missing("image_id", "the id of an image").into());
    };
    let delivery = waiting::delivery(cx, &mut args, Some(Return::Full))?;
    let found = match generation::image_id(&asked) {
        Some(id) => cx.inner.backend.image(cx.call.team(), id).await?,
        None => None,
    };
    let Some((image, view)) = found else {
        let failure = Failure::from(Refused::new(Code::NotFound, "Image not found"));
        return Answer::failure(&Failure { image_id: Some(asked), ..failure });
    };
    let (copy, note) = cx.copy(&image, delivery, cx.inner.settings.full_max.0).await?;
    let mut adjustments = args.unknown();
    adjustments.extend(note);
    let mut blocks: Vec<_> = copy.into_iter().collect();
    blocks.extend(cx.resource_link(&image, &view));
    let object = ImageData { success: true, image: cx.image(&image, &view), adjustments };
    Ok(Answer::of(&object)?.with(blocks))
}
