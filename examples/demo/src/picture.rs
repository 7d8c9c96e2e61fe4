//! The picture: connections, requests served and the slowest of them over time, all runs on the same scales.

use demuxbuf_demo::drawing::{
    self, Area, BLUE, Drawn, GREEN, GRID, SHADE, SIDE_PIXELS, TEXT, VERMILION, draw_grid, letters,
};
use demuxbuf_demo::text::{counted, thousands};
use plotters::prelude::*;

use crate::report::{Report, RunReport};

const SIZE: (u32, u32) = (1200, 1080);
const HEAD_PIXELS: u32 = 130;

/// Their widths differ for grey prints: each run is drawn narrower on top of those before it, so that all show where
/// they coincide.
const COLOURS: [RGBColor; 3] = [VERMILION, BLUE, GREEN];
const WIDTHS: [u32; 3] = [7, 4, 2];

/// One of the three diagrams.
struct Panel {
    title: String,
    unit: &'static str,
    /// A value that the axis shows even if no run reaches it.
    least_top: f64,
    lines: [Vec<(f64, f64)>; 3],
}

/// The picture as SVG.
pub(crate) fn draw(report: &Report) -> Result<String, String> {
    let (frames, kib) = (counted(report.connections, "half-sent frame"), thousands(report.memory_kib));
    let title = format!("{frames} in {kib} KiB of receive memory");
    let subtitle =
        format!("Requests served under attack: {}.", report.runs.each_ref().map(served_under_attack).join(", "));
    drawing::draw(SIZE, HEAD_PIXELS, [&title, &subtitle], |head, diagrams| {
        draw_legend(head, report)?;
        let panels = panels(report);
        let last = panels.len() - 1;
        for (position, (area, panel)) in diagrams.split_evenly((panels.len(), 1)).iter().zip(&panels).enumerate() {
            draw_panel(area, panel, report, position == last)?;
        }
        Ok(())
    })
}

fn panels(report: &Report) -> [Panel; 3] {
    let lines = |line: &dyn Fn(&RunReport) -> Vec<(f64, f64)>| report.runs.each_ref().map(line);
    [
        Panel {
            title: "Clients connected; those refused, or shed past a deadline, come again".into(),
            unit: "clients",
            least_top: 10.0,
            lines: lines(&|run| run.samples.iter().map(|point| (point.time_s, point.connections as f64)).collect()),
        },
        Panel {
            title: format!("Honest requests served ({} clients)", report.honest_clients),
            unit: "requests per second",
            least_top: 10.0,
            lines: lines(&served_per_second),
        },
        Panel {
            title: "The slowest of them in each half second; no line where none was served".into(),
            unit: "milliseconds",
            least_top: 100.0,
            lines: lines(&|run| run.slowest_ms.clone()),
        },
    ]
}

/// The rate between each two samples, at the time between them.
fn served_per_second(run: &RunReport) -> Vec<(f64, f64)> {
    let rate = |pair: &[crate::report::Point]| {
        let (from, to) = (&pair[0], &pair[1]);
        let rate = (to.served - from.served) as f64 / (to.time_s - from.time_s);
        ((from.time_s + to.time_s) / 2.0, rate)
    };
    run.samples.windows(2).map(rate).collect()
}

fn draw_legend(area: &Area, report: &Report) -> Drawn {
    let mut left = SIDE_PIXELS;
    for (run, (colour, width)) in report.runs.iter().zip(COLOURS.iter().zip(WIDTHS)) {
        area.draw(&PathElement::new([(left, 106), (left + 44, 106)], colour.stroke_width(width)))?;
        area.draw_text(run.name, &letters(18, &TEXT), (left + 54, 106))?;
        left += 190;
    }
    area.draw(&Rectangle::new([(left, 96), (left + 44, 116)], SHADE.filled()))?;
    area.draw(&Rectangle::new([(left, 96), (left + 44, 116)], GRID.stroke_width(1)))?;
    area.draw_text("attackers connected", &letters(18, &TEXT), (left + 54, 106))?;
    Ok(())
}

fn served_under_attack(run: &RunReport) -> String {
    let (served, sent) = (run.under_attack.served, run.under_attack.sent);
    format!("{} of {} ({})", thousands(served), thousands(sent), run.name)
}

fn draw_panel(area: &Area, panel: &Panel, report: &Report, is_last: bool) -> Drawn {
    let area = area.margin(0, 0, SIDE_PIXELS, SIDE_PIXELS);
    area.draw_text(&panel.title, &letters(20, &TEXT), (0, 12))?;
    let highest = panel.lines.iter().flatten().map(|point| point.1).fold(panel.least_top, f64::max);
    let (end, top) = (report.seconds, highest * 1.12);
    let mut chart = ChartBuilder::on(&area)
        .margin_top(30)
        .margin_bottom(8)
        .margin_right(10)
        .x_label_area_size(if is_last { 48 } else { 28 })
        .y_label_area_size(86)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    // The earliest of the begins; they differ by a few milliseconds.
    let attack = report.runs.iter().map(|run| run.attack_began_s).fold(end, f64::min);
    chart.draw_series([Rectangle::new([(attack, 0.0), (end, top)], SHADE.filled())])?;
    draw_grid(&mut chart, panel.unit, is_last.then_some("seconds since the run began"))?;
    for (line, (colour, width)) in panel.lines.iter().zip(COLOURS.iter().zip(WIDTHS)) {
        let inside = line.iter().copied().filter(|point| point.0 <= end);
        chart.draw_series(LineSeries::new(inside, colour.stroke_width(width)))?;
    }
    Ok(())
}
