"""What the pages of a night need in CSS beyond what every page of ours has."""

STYLE = """
@media screen and (prefers-color-scheme: dark) { :root { --plot-1: #56b4e9; } }
.card { overflow-x: auto; margin-bottom: 12px; } .card.padded { padding: 14px 16px; }
.card tr:first-child > * { border-top: 0; } .card h3 { font-size: 14px; margin: 0 0 2px; }
.card p.note { margin: 0; padding: 12px 16px 4px; font-size: 13px; color: var(--soft); } p.note { font-size: 13px; }
.facts th { width: 160px; font-size: 13px; } .facts td { overflow-wrap: anywhere; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); }
.tiles:has(> :nth-child(6)) { grid-template-columns: repeat(3, 1fr); }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 0 12px;
  align-items: start; }
.columns > * { min-width: 0; }
svg { display: block; width: 100%; max-width: 760px; min-width: 480px; height: auto; margin: 0 auto; }
svg text { font-family: system-ui, sans-serif !important; }
.figures :is(th, td) { padding: 8px 12px; }
.figures td:first-child { white-space: nowrap; }
td.soft { font-size: 13px; }
tr.part th { padding-top: 18px; color: var(--ink); font-size: 13px; } .lead td { font-weight: 600; }
.checks td:nth-child(2) { width: 200px; } .checks td:nth-child(3) { min-width: 220px; }
.told td, .verdicts td { overflow-wrap: anywhere; } .told td:first-child { color: var(--soft); width: 230px; }
.told tr.changed td:last-child { font-weight: 600; } .verdicts td { font-size: 13px; min-width: 150px; }
.example { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 220px), 1fr)); gap: 4px 28px; }
.example ol, .example ul { margin: 2px 0 8px; padding-left: 26px; font-size: 14px; overflow-wrap: anywhere; }
.example h3 { margin-top: 8px; color: var(--soft); font-size: 12px; }
.hit { font-weight: 600; color: var(--good); } .hit .soft { font-weight: 400; }
.new { color: var(--plot-1, #0072b2); font-weight: 700; }
pre { margin: 4px 0 14px; white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.5 ui-monospace, monospace; }
pre:last-child { margin-bottom: 0; } pre span { color: var(--soft); }
@media (max-width: 560px) { main { padding: 20px 12px 40px; } th, td { padding: 7px 10px; } .facts th { width: 120px; }
  .tiles, .tiles:has(> :nth-child(6)) { grid-template-columns: 1fr 1fr; } .figures :is(th, td) { padding: 7px 8px; } }
@media print { svg { min-width: 0; max-width: 520px; } .columns { grid-template-columns: 1fr 1fr; }
  .facts th { width: 110px; font-size: 11px; } .example { grid-template-columns: repeat(4, 1fr); gap: 4px 12px; }
  pre { font-size: 10px; } .example ol, .example ul { font-size: 11px; }
  .tiles { grid-template-columns: repeat(3, 1fr); }
  .figures :is(th, td) { padding: 3px 6px; } td.soft, p.note { font-size: 10px; } }
"""
