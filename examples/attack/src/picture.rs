//! The picture: for each attack, the latency of the honest clients without it and under it.

use demuxbuf_demo::drawing::{self, Area, BLUE, Drawn, FAINT_TEXT, GRID, SIDE_PIXELS, TEXT, VERMILION, letters};
use demuxbuf_demo::text::{counted, thousands};
use plotters::prelude::*;

use crate::report::{Attack, Latency, Report};

const WIDTH: u32 = 1200;
const HEAD_PIXELS: u32 = 140;
const ROW_PIXELS: u32 = 38;
const AXIS_PIXELS: u32 = 90;

/// Beside the diagram: the attacks' names, and what became of the requests.
const NAME_PIXELS: u32 = 140;
const RESULT_PIXELS: u32 = 230;
const RESULT_GAP_PIXELS: i32 = 12;

/// The logarithms of the shortest and the longest latency that the axis shows, in milliseconds.
const SHORTEST: f64 = -1.0;
const LONGEST: f64 = 4.0;

/// Without attackers, and with all of them: their distance from the middle of a row.
const SHIFT: f64 = 0.17;

/// The picture as SVG.
pub(crate) fn draw(report: &Report) -> Result<String, String> {
    let attackers = counted(report.connections, "hostile connection");
    let title = format!("{attackers} against {}{}", report.target, if report.counting { ", which counts" } else { "" });
    let served: u64 = report.attacks.iter().map(|attack| attack.sum(|part| part.served)).sum();
    let sent: u64 = report.attacks.iter().map(|attack| attack.sum(|part| part.sent)).sum();
    let shed: u64 = report.attacks.iter().map(Attack::honest_shed).sum();
    let subtitle = format!(
        "{}: {} of {} requests served, {} shed. How long their requests took:",
        counted(report.honest_clients, "honest client"),
        thousands(served),
        thousands(sent),
        counted(shed as usize, "connection")
    );
    let height = HEAD_PIXELS + ROW_PIXELS * report.attacks.len() as u32 + AXIS_PIXELS;
    drawing::draw((WIDTH, height), HEAD_PIXELS, [&title, &subtitle], |head, diagram| {
        draw_legend(head)?;
        draw_rows(diagram, report)
    })
}

fn draw_legend(area: &Area) -> Drawn {
    let mut left = SIDE_PIXELS + NAME_PIXELS as i32;
    for (name, colour) in [("without attackers", BLUE), ("with all of them", VERMILION)] {
        area.draw(&Circle::new((left + 6, 112), 6, colour.filled()))?;
        area.draw_text(name, &letters(18, &TEXT), (left + 20, 112))?;
        left += 190;
    }
    let figures = "line: from the median to the slowest; dot: of 100 requests, 99 took no longer";
    area.draw_text(figures, &letters(16, &FAINT_TEXT), (left, 112))?;
    Ok(())
}

fn draw_rows(area: &Area, report: &Report) -> Drawn {
    let area = area.margin(0, 0, SIDE_PIXELS, SIDE_PIXELS);
    let rows = report.attacks.len() as f64;
    let mut chart = ChartBuilder::on(&area)
        .x_label_area_size(52)
        .margin_left(NAME_PIXELS)
        .margin_right(RESULT_PIXELS)
        .build_cartesian_2d(SHORTEST..LONGEST, -rows..0.0)?;
    let mut mesh = chart.configure_mesh();
    mesh.disable_y_mesh().disable_y_axis().light_line_style(TRANSPARENT).bold_line_style(GRID).axis_style(FAINT_TEXT);
    mesh.x_labels(6).x_label_formatter(&|power| thousandths(*power)).label_style(letters(15, &TEXT));
    mesh.x_desc("milliseconds").draw()?;
    let bound = report.attacks.iter().find_map(|attack| attack.relay).map(|relay| relay.waits_ms()[1]);
    if let Some(bound) = bound {
        let at = position(bound);
        chart.draw_series(DashedLineSeries::new([(at, -rows), (at, 0.0)], 6, 5, FAINT_TEXT.stroke_width(1)))?;
        let below = EmptyElement::at((at, -rows))
            + Text::new("longest wait for room".to_string(), (-70, 36), letters(15, &FAINT_TEXT));
        chart.draw_series([below])?;
    }
    for (index, attack) in report.attacks.iter().enumerate() {
        let middle = -(index as f64) - 0.5;
        for (latency, colour, at) in
            [(attack.quiet_latency, BLUE, middle + SHIFT), (attack.latency, VERMILION, middle - SHIFT)]
        {
            let Latency { p50_ms: Some(p50), p99_ms: Some(p99), max_ms: Some(max) } = latency else {
                continue;
            };
            let line = [(position(p50), at), (position(max), at)];
            chart.draw_series(LineSeries::new(line, colour.stroke_width(3)))?;
            chart.draw_series([Circle::new((position(p99), at), 5, colour.filled())])?;
        }
        let (served, sent) = (thousands(attack.during.served), thousands(attack.during.sent));
        let texts = [
            (SHORTEST, -(NAME_PIXELS as i32), attack.name.clone()),
            (LONGEST, RESULT_GAP_PIXELS, format!("{served} of {sent} served")),
        ];
        chart.draw_series(texts.map(|(at, shift, text)| {
            EmptyElement::at((at, middle)) + Text::new(text, (shift, 0), letters(16, &TEXT))
        }))?;
    }
    Ok(())
}

/// Where a latency is drawn; what is beyond the axis, at its end.
fn position(ms: f64) -> f64 {
    ms.max(f64::MIN_POSITIVE).log10().clamp(SHORTEST, LONGEST)
}

/// The number of milliseconds at a whole power of ten.
fn thousandths(power: f64) -> String {
    if power < 0.0 { "0.1".into() } else { thousands(10f64.powf(power).round() as u64) }
}
