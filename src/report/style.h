// The style sheets of a report. One set of colours for light, one for dark, both by the reader's own setting. The five
// line colours keep their distance for colour-blind readers too.
#pragma once

namespace ov {

// What a plot needs; a picture that stands by itself carries this alone.
inline constexpr const char* plot_style = R"css(
:root { color-scheme: light dark;
  --page: #f6f6f3; --card: #ffffff; --ink: #1b1c1a; --soft: #5d5f5a; --rule: #dcdcd6; --track: #ecece7;
  --c1: #2a6fc9; --c2: #c2571a; --c3: #17835f; --c4: #7a4fc0; --c5: #b03a5b; --good: #17835f; --bad: #b5392f; }
@media (prefers-color-scheme: dark) { :root {
  --page: #151614; --card: #1e201d; --ink: #ecece7; --soft: #a3a69e; --rule: #363833; --track: #2b2d29;
  --c1: #6ea8f0; --c2: #ee9355; --c3: #4fc59a; --c4: #b294ee; --c5: #ec7f9d; --good: #4fc59a; --bad: #f08077; } }
svg { display: block; width: 100%; height: auto; font-family: system-ui, sans-serif; }
svg text { fill: var(--soft); font-size: 11px; } svg .title { fill: var(--ink); font-size: 12.5px; font-weight: 600; }
svg .right { text-anchor: end; } svg .middle { text-anchor: middle; }
.grid { stroke: var(--rule); stroke-width: 1; } .axis { stroke: var(--soft); stroke-width: 1; }
path { fill: none; stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
path.faint { stroke-width: 1; opacity: .3; }
.s1 { stroke: var(--c1); } .s2 { stroke: var(--c2); } .s3 { stroke: var(--c3); } .s4 { stroke: var(--c4); }
.s5 { stroke: var(--c5); }
.p1 { fill: var(--c1); } .p2 { fill: var(--c2); } .p3 { fill: var(--c3); } .p4 { fill: var(--c4); }
.p5 { fill: var(--c5); }
.bar { fill: var(--c1); } .track { fill: var(--track); } .blind1 { stroke: var(--c2); stroke-width: 2; }
.blind2 { stroke: var(--ink); stroke-width: 2; stroke-dasharray: 2 2; }
)css";

inline constexpr const char* page_style = R"css(
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 36px 0 10px; }
h3 { font-size: 15px; margin: 0; }
p, .note { color: var(--soft); margin: 4px 0 12px; max-width: 76ch; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 14px 16px;
  margin: 0 0 14px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 18px 0; }
.tile { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 10px 14px; }
.tile b { display: block; font-size: 24px; font-weight: 600; line-height: 1.3; }
.tile span { color: var(--soft); font-size: 13px; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 10px 18px;
  margin-top: 8px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; }
th { text-align: right; font-weight: 600; color: var(--soft); padding: 4px 8px;
  border-bottom: 1px solid var(--rule); vertical-align: bottom; }
td { text-align: right; padding: 4px 8px; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; } tr:last-child td { border-bottom: none; }
tr.sum td { font-weight: 600; }
td.text { text-align: left; white-space: normal; overflow-wrap: anywhere; }
code, pre { font: 12.5px/1.45 ui-monospace, monospace; } pre { overflow-x: auto; margin: 8px 0 0; }
td code { overflow-wrap: anywhere; }
details { margin: 8px 0; } summary { cursor: pointer; color: var(--soft); }
td svg.meter { width: 240px; height: 16px; }
.key svg { display: inline-block; width: 26px; height: 12px; vertical-align: -1px; }
.key { color: var(--soft); font-size: 13px; margin: 0 0 8px; } .key span { margin-right: 18px; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(238px, 1fr)); gap: 14px; }
figure { margin: 0; background: var(--card); border: 1px solid var(--rule); border-radius: 8px; overflow: hidden; }
figure .frame { height: 132px; background: var(--track); display: flex; align-items: center;
  justify-content: center; padding: 8px; }
figure img { height: 100%; max-width: 100%; object-fit: contain; image-rendering: pixelated; }
figcaption { padding: 10px 12px; font-size: 13.5px; } figcaption div { overflow-wrap: anywhere; margin-top: 3px; }
figcaption .what { color: var(--soft); font-size: 12px; margin: 0; display: flex; justify-content: space-between; }
.right-answer { color: var(--good); font-weight: 600; } .wrong-answer { color: var(--bad); font-weight: 600; }
figcaption i { color: var(--soft); font-style: normal; }
@media (max-width: 560px) { main { padding: 16px 10px 40px; } .card { padding: 10px; }
  .plots { grid-template-columns: 1fr; } table { font-size: 12.5px; } th, td { padding: 4px 3px; }
  table.accuracy td { white-space: normal; }
  table.accuracy :is(th, td):nth-child(2), table.accuracy :is(th, td):nth-child(3), .key { display: none; } }
)css";

}  // namespace ov
