//! The picture: one attack after the other on one axis of time, with what honest clients get and what the relay holds.

use demuxbuf_demo::drawing::{
    self, Area, BLUE, Drawn, FAINT_TEXT, SHADE, SIDE_PIXELS, TEXT, VERMILION, draw_grid, letters,
};
use demuxbuf_demo::text::{counted, thousands};
use plotters::prelude::*;

use crate::report::{Attack, Report};

const SIZE: (u32, u32) = (1600, 1060);
const HEAD_PIXELS: u32 = 110;

/// Each dot is the slowest request that began in this many seconds, each line the number of requests.
const SLOWEST_OF_S: f64 = 0.1;
const BEGUN_OF_S: f64 = 0.25;

/// One of the diagrams; each line is drawn for one attack.
struct Panel {
    title: &'static str,
    unit: &'static str,
    top: f64,
    lines: Vec<(RGBColor, Vec<(f64, f64)>)>,
    dots: Vec<(f64, f64)>,
}

/// The picture as SVG.
pub(crate) fn draw(report: &Report) -> Result<String, String> {
    let title = format!("{} against {}", counted(report.connections, "hostile connection"), report.target);
    let served: u64 = report.attacks.iter().map(|attack| attack.sum(|part| part.served)).sum();
    let sent: u64 = report.attacks.iter().map(|attack| attack.sum(|part| part.sent)).sum();
    let shed: u64 = report.attacks.iter().map(Attack::honest_shed).sum();
    let subtitle = format!(
        "{}: {} of {} requests served, {} shed. Time in seconds; shaded: all attackers are there.",
        counted(report.honest_clients, "honest client"),
        thousands(served),
        thousands(sent),
        counted(shed as usize, "connection")
    );
    drawing::draw(SIZE, HEAD_PIXELS, [&title, &subtitle], |_, diagrams| {
        let panels = panels(report);
        for (position, (area, panel)) in diagrams.split_evenly((panels.len(), 1)).iter().zip(&panels).enumerate() {
            draw_panel(area, panel, report, position)?;
        }
        Ok(())
    })
}

/// When each attack begins on the common axis, and when the last one ends.
fn begins(report: &Report) -> (Vec<f64>, f64) {
    let mut end = 0.0;
    let begin = |attack: &Attack| {
        let begin = end;
        end += attack.ended_s;
        begin
    };
    let begins = report.attacks.iter().map(begin).collect();
    (begins, end)
}

fn panels(report: &Report) -> Vec<Panel> {
    let (begins, _) = begins(report);
    let attacks = || begins.iter().zip(&report.attacks);
    let slowest = attacks().flat_map(|(begin, attack)| shift(*begin, by_time(attack, SLOWEST_OF_S, f64::max)));
    // Where none was begun there is nothing to see.
    let slowest = slowest.filter(|dot| dot.1 > 0.0);
    let begun = |(begin, attack): (&f64, &Attack)| {
        let count = by_time(attack, BEGUN_OF_S, |count, _| count + 1.0 / BEGUN_OF_S);
        (BLUE, shift(*begin, count))
    };
    let mut panels = vec![
        panel("Honest requests begun", "per second", attacks().map(begun).collect(), Vec::new()),
        panel("Latency of the slowest honest request", "ms", Vec::new(), slowest.collect()),
    ];
    if report.attacks.iter().any(|attack| attack.relay.is_some()) {
        let in_use = |(begin, attack): (&f64, &Attack)| {
            let points = attack.samples.iter();
            (BLUE, shift(*begin, points.map(|at| (at.time_s, at.buffers_in_use.unwrap_or(0) as f64)).collect()))
        };
        panels.push(panel("Receive buffers in use", "buffers", attacks().map(in_use).collect(), Vec::new()));
        let buffers = report.attacks.iter().filter_map(|attack| attack.relay.map(|relay| relay.buffers)).max();
        panels[2].top = panels[2].top.max(buffers.unwrap_or(0) as f64 * 1.1);
    }
    let connected = |(begin, attack): (&f64, &Attack)| {
        (VERMILION, shift(*begin, attack.samples.iter().map(|at| (at.time_s, at.attackers as f64)).collect()))
    };
    panels.push(panel("Attackers connected", "connections", attacks().map(connected).collect(), Vec::new()));
    panels
}

fn panel(
    title: &'static str,
    unit: &'static str,
    lines: Vec<(RGBColor, Vec<(f64, f64)>)>,
    dots: Vec<(f64, f64)>,
) -> Panel {
    let all = lines.iter().flat_map(|(_, line)| line).chain(&dots);
    let top = all.map(|point| point.1).fold(10.0, f64::max) * 1.1;
    Panel { title, unit, top, lines, dots }
}

/// The honest requests by the time at which they were begun, those of each span made into one figure.
fn by_time(attack: &Attack, span_s: f64, fold: impl Fn(f64, f64) -> f64) -> Vec<(f64, f64)> {
    let spans = (attack.ended_s / span_s) as usize;
    let mut figures = vec![0.0; spans];
    for (begun_s, lasted_ms) in &attack.requests {
        if let Some(figure) = figures.get_mut((begun_s / span_s) as usize) {
            *figure = fold(*figure, *lasted_ms);
        }
    }
    figures.into_iter().enumerate().map(|(span, figure)| ((span as f64 + 0.5) * span_s, figure)).collect()
}

fn shift(begin: f64, line: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    line.into_iter().map(|(time_s, value)| (begin + time_s, value)).collect()
}

fn draw_panel(area: &Area, panel: &Panel, report: &Report, position: usize) -> Drawn {
    let area = area.margin(0, 0, SIDE_PIXELS, SIDE_PIXELS);
    area.draw_text(panel.title, &letters(20, &TEXT), (0, 10))?;
    let (begins, end) = begins(report);
    let mut chart = ChartBuilder::on(&area)
        .margin_top(44)
        .margin_right(10)
        .x_label_area_size(26)
        .y_label_area_size(86)
        .build_cartesian_2d(0.0..end, 0.0..panel.top)?;
    let shades = begins.iter().zip(&report.attacks).map(|(begin, attack)| {
        Rectangle::new([(begin + attack.complete_s, 0.0), (begin + attack.left_s, panel.top)], SHADE.filled())
    });
    chart.draw_series(shades)?;
    draw_grid(&mut chart, panel.unit, None)?;
    for (begin, attack) in begins.iter().zip(&report.attacks) {
        chart.draw_series(LineSeries::new([(*begin, 0.0), (*begin, panel.top)], FAINT_TEXT.stroke_width(1)))?;
        if position == 0 {
            let above = (begin + 0.1, panel.top);
            chart.draw_series([
                EmptyElement::at(above) + Text::new(attack.name.clone(), (0, -10), letters(15, &TEXT))
            ])?;
        }
    }
    for (colour, line) in &panel.lines {
        chart.draw_series(LineSeries::new(line.iter().copied(), colour.stroke_width(2)))?;
    }
    chart.draw_series(panel.dots.iter().map(|dot| Circle::new(*dot, 2, VERMILION.filled())))?;
    Ok(())
}
