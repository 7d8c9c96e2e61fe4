//! The common parts of all pictures: a head, diagrams below it, colours and letters.

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::text::thousands;

/// The margin at the sides of a picture and between its diagrams.
pub const SIDE_PIXELS: i32 = 30;

/// The letters' colours.
pub const TEXT: RGBColor = RGBColor(34, 34, 34);
/// Of letters that matter less.
pub const FAINT_TEXT: RGBColor = RGBColor(96, 96, 96);
/// Of lines behind what is shown.
pub const GRID: RGBColor = RGBColor(222, 222, 222);
/// Of the time that a picture is about.
pub const SHADE: RGBColor = RGBColor(241, 239, 232);

/// Of the palette of Okabe and Ito, as [`VERMILION`]: distinct with every kind of colour blindness.
pub const BLUE: RGBColor = RGBColor(0, 114, 178);
/// See [`BLUE`].
pub const GREEN: RGBColor = RGBColor(0, 158, 115);
/// See [`BLUE`].
pub const VERMILION: RGBColor = RGBColor(213, 94, 0);

const FONT: &str = "sans-serif";

/// A part of a picture.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// A diagram over time.
pub type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
/// The outcome of drawing.
pub type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Draws a picture as SVG: a title and a line below it in a head of this height, which `diagrams` draws under; it is
/// given the head too.
///
/// # Errors
///
/// The part that cannot be drawn.
pub fn draw(
    size: (u32, u32),
    head_pixels: u32,
    [title, subtitle]: [&str; 2],
    diagrams: impl FnOnce(&Area, &Area) -> Drawn,
) -> Result<String, String> {
    let mut picture = String::new();
    let draw_into = |picture: &mut String| -> Drawn {
        let root = SVGBackend::with_string(picture, size).into_drawing_area();
        root.fill(&WHITE)?;
        let (head, rest) = root.split_vertically(head_pixels);
        head.draw_text(title, &letters(30, &TEXT), (SIDE_PIXELS, 34))?;
        head.draw_text(subtitle, &letters(18, &FAINT_TEXT), (SIDE_PIXELS, 72))?;
        diagrams(&head, &rest)?;
        root.present()?;
        Ok(())
    };
    draw_into(&mut picture).map_err(|error| format!("the picture cannot be drawn: {error}"))?;
    Ok(picture)
}

/// Draws the background of a diagram: the unit of its height, and of its time if it is given.
///
/// # Errors
///
/// The part that cannot be drawn.
pub fn draw_grid(chart: &mut Chart, unit: &str, time: Option<&str>) -> Drawn {
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh().light_line_style(TRANSPARENT).bold_line_style(GRID).axis_style(FAINT_TEXT);
    mesh.x_labels(20).y_labels(6).x_label_formatter(&label).y_label_formatter(&label);
    mesh.label_style((FONT, 15, &TEXT)).axis_desc_style((FONT, 16, &FAINT_TEXT)).y_desc(unit);
    if let Some(time) = time {
        mesh.x_desc(time);
    }
    mesh.draw()?;
    Ok(())
}

/// Ticks between whole numbers get no label.
fn label(value: &f64) -> String {
    if value.fract().abs() < 1e-9 { thousands(*value as u64) } else { String::new() }
}

/// Text of this size that begins where it is drawn.
pub fn letters(size: u32, colour: &RGBColor) -> TextStyle<'static> {
    (FONT, size).into_font().color(colour).pos(Pos::new(HPos::Left, VPos::Center))
}
