//! Operations on the bits of numbers, as LuaJIT has them (<https://bitop.luajit.org/api.html>).

use mlua::{Lua, Table, Variadic};

/// A number as its 32 lowest bits.
fn bits(number: f64) -> i32 {
    // Whole numbers up to 2^53 are exact, and what is above says nothing.
    number.rem_euclid(4_294_967_296.0) as u32 as i32
}

fn number(bits: i32) -> f64 {
    f64::from(bits)
}

/// The library `bit`.
pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    let fold = |combine: fn(i32, i32) -> i32| {
        lua.create_function(move |_, (first, others): (f64, Variadic<f64>)| {
            Ok(number(others.iter().fold(bits(first), |all, other| combine(all, bits(*other)))))
        })
    };
    library.set("band", fold(|a, b| a & b)?)?;
    library.set("bor", fold(|a, b| a | b)?)?;
    library.set("bxor", fold(|a, b| a ^ b)?)?;
    let of_one = |change: fn(i32) -> i32| lua.create_function(move |_, value: f64| Ok(number(change(bits(value)))));
    library.set("tobit", of_one(|a| a)?)?;
    library.set("bnot", of_one(|a| !a)?)?;
    library.set("bswap", of_one(i32::swap_bytes)?)?;
    let shift = |by: fn(i32, u32) -> i32| {
        lua.create_function(move |_, (value, count): (f64, f64)| Ok(number(by(bits(value), bits(count) as u32 & 31))))
    };
    library.set("lshift", shift(|a, n| a << n)?)?;
    library.set("rshift", shift(|a, n| (a as u32 >> n) as i32)?)?;
    library.set("arshift", shift(|a, n| a >> n)?)?;
    library.set("rol", shift(i32::rotate_left)?)?;
    library.set("ror", shift(i32::rotate_right)?)?;
    library.set("tohex", lua.create_function(|_, (value, digits): (f64, Option<f64>)| Ok(hex(bits(value), digits)))?)?;
    Ok(library)
}

/// The last digits, eight where nothing is said; a negative number asks for capitals.
fn hex(value: i32, digits: Option<f64>) -> String {
    let wanted = digits.unwrap_or(8.0);
    let count = wanted.abs().min(8.0) as usize;
    let text = if wanted < 0.0 { format!("{value:08X}") } else { format!("{value:08x}") };
    text[8 - count..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_those_of_luajit() {
        let lua = Lua::new();
        lua.globals().set("bit", library(&lua).expect("it is made")).expect("it is set");
        let cases = [
            ("bit.band(0x12345678, 0xff, 0x70)", "112"),
            ("bit.bor(1, 2, 4, 8)", "15"),
            ("bit.bxor(0xa5a5f0f0, 0xaa55ff00)", "267390960"),
            ("bit.bnot(0)", "-1"),
            ("bit.tobit(0xffffffff)", "-1"),
            ("bit.tobit(0x100000001)", "1"),
            ("bit.lshift(1, 8)", "256"),
            ("bit.lshift(1, 40)", "256"),
            ("bit.rshift(-256, 8)", "16777215"),
            ("bit.arshift(-256, 8)", "-1"),
            ("bit.rol(0x12345678, 12)", "1164411171"),
            ("bit.ror(0x12345678, 12)", "1736516421"),
            ("bit.bswap(0x12345678)", "2018915346"),
            ("bit.tohex(0xdeadbeef)", "deadbeef"),
            ("bit.tohex(0x12ab, -4)", "12AB"),
            ("bit.tohex(-1, 2)", "ff"),
        ];
        for (code, expected) in cases {
            assert_eq!(lua.load(format!("return tostring({code})")).eval::<String>().expect("it runs"), expected, "{code}");
        }
    }
}
