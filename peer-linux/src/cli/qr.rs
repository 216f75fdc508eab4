//! An invite as a picture for a camera.

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};

/// A QR code of `text`, two rows of it to a line. Block characters are its light parts: right on a dark terminal, and
/// cameras take the inverse as well. In capitals, which invites are read in too, as they take less room.
pub fn picture(text: &str) -> Option<String> {
    let code = QrCode::with_error_correction_level(text.to_uppercase(), EcLevel::L).ok()?;
    let (light, dark) = (Dense1x2::Dark, Dense1x2::Light);
    Some(code.render::<Dense1x2>().dark_color(dark).light_color(light).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_is_the_code_in_halves_of_lines() {
        let text = format!("dart1{}", "0z".repeat(60));
        let drawn = picture(&text).unwrap();
        let rows = drawn.lines().flat_map(|line| {
            let half = |of: [char; 2]| line.chars().map(|c| !of.contains(&c) && c != '█').collect();
            [half(['▀', '▀']), half(['▄', '▄'])]
        });
        let rows: Vec<Vec<bool>> = rows.collect();
        let code = QrCode::with_error_correction_level(text.to_uppercase(), EcLevel::L).unwrap();
        let width = code.width();
        assert!(rows.len() <= width + 9 && rows.iter().all(|r| r.len() == width + 8), "{drawn}");
        let modules = code.to_colors();
        for y in 0..width {
            for x in 0..width {
                let dark = modules[y * width + x] == qrcode::Color::Dark;
                assert_eq!(rows[y + 4][x + 4], dark, "{x} {y}\n{drawn}");
            }
        }
        assert!(rows[..4].iter().flatten().all(|dark| !dark), "a quiet rim");
    }

    #[test]
    fn what_no_code_holds_has_no_picture() {
        assert_eq!(picture(&"x".repeat(5000)), None);
    }
}
