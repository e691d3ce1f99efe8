"""How our web pages look: one style sheet, light and dark, from a telephone's width to a screen's."""

# The edge of a slider has so many places, from all of one picture to all of the other: an odd number, for a middle.
PLACES = 25

_BASE = """
:root{--back:#fff;--panel:#f5f6f8;--text:#1d2127;--pale:#5b6470;--line:#d9dde3;--link:#0b5cad;
--s0:#0072b2;--s1:#d55e00;--s2:#009e73;--s3:#b4508f;--s4:#b07d00;--s5:#3f8fc4;color-scheme:light dark}
@media(prefers-color-scheme:dark){:root{--back:#14171b;--panel:#1d2127;--text:#e4e7eb;--pale:#9aa4b1;--line:#343a43;
--link:#7ab8f5;--s0:#4aa8e0;--s1:#f08a4b;--s2:#3cc79b;--s3:#e08fc0;--s4:#e3b341;--s5:#8cc8f0}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;background:var(--back);color:var(--text);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;overflow-wrap:anywhere}
main{max-width:1180px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 .5rem}
h2{font-size:1.3rem;line-height:1.25;margin:2.6rem 0 .7rem;padding-top:.9rem;border-top:1px solid var(--line)}
h3{font-size:1.02rem;margin:1.4rem 0 .4rem}
p{margin:.5rem 0;max-width:76ch}
ul{padding-left:1.3rem;max-width:76ch}
a{color:var(--link)}
nav{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;margin:1rem 0 0;font-size:.92rem}
.note,figcaption,caption{color:var(--pale);font-size:.86rem;line-height:1.4}
figure{margin:0;min-width:0}
figcaption{margin-top:.35rem}
img{max-width:100%;height:auto;display:block;border-radius:3px;background:var(--panel)}
svg{width:100%;height:auto;display:block}
.grid{display:grid;gap:1.2rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,var(--least)),1fr));margin:1rem 0}
.tiles{display:grid;gap:.8rem;grid-template-columns:repeat(auto-fill,minmax(min(46%,150px),1fr));margin:1.2rem 0}
.tiles div{background:var(--panel);border:1px solid var(--line);border-radius:6px;padding:.6rem .8rem}
.tiles strong{display:block;font-size:1.25rem;line-height:1.3;font-variant-numeric:tabular-nums}
.tiles span{color:var(--pale);font-size:.84rem;line-height:1.3;display:block}
.wide{overflow-x:auto;max-width:100%;margin:.7rem 0}
table{border-collapse:collapse;font-size:.9rem;line-height:1.4}
caption{text-align:left;padding-bottom:.3rem}
th,td{text-align:left;vertical-align:top;padding:.3rem .9rem .3rem 0;border-bottom:1px solid var(--line);
min-width:5rem;overflow-wrap:break-word}
th{font-weight:600;color:var(--pale)}
.n{text-align:right;font-variant-numeric:tabular-nums;min-width:4rem}td.n{white-space:nowrap}
.t{min-width:17rem}
pre{background:var(--panel);border:1px solid var(--line);border-radius:5px;padding:.8rem 1rem;overflow-x:auto;
font-size:.83rem;line-height:1.5;overflow-wrap:normal}
code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
:not(pre)>code{font-size:.88em;background:var(--panel);padding:.05em .3em;border-radius:3px}
details{margin:.7rem 0}
summary{cursor:pointer;color:var(--link)}
.legend{display:flex;flex-wrap:wrap;gap:.1rem 1rem;font-size:.84rem;color:var(--pale);margin:0 0 .2rem}
.legend i{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.4em;vertical-align:-.05em}
.chart text{fill:var(--pale);font-size:12px;font-family:inherit}
.chart .axis{stroke:var(--pale);stroke-width:1}
.chart .rule{stroke:var(--line);stroke-width:1}
.chart .bar{fill-opacity:.85}
.chart .over .bar{fill-opacity:.4}
.chart .line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.chart .mark{stroke:var(--text);stroke-width:1;stroke-dasharray:4 3}
.slider{position:relative;overflow:hidden;border-radius:3px;line-height:0;cursor:ew-resize;touch-action:manipulation;
-webkit-user-select:none;user-select:none}
.slider img{width:100%;border-radius:0}
.slider input{position:absolute;top:50%;left:50%;width:1px;height:1px;margin:0;opacity:0;pointer-events:none}
.slider label{position:absolute;top:0;bottom:0;z-index:3;-webkit-tap-highlight-color:transparent;cursor:ew-resize}
.slider .over{position:absolute;inset:0;clip-path:inset(0 calc(100% - var(--x,50%)) 0 0);
transition:clip-path .09s linear}
.slider .edge{position:absolute;top:0;bottom:0;left:var(--x,50%);width:2px;margin-left:-1px;background:#fff;
box-shadow:0 0 3px #000a;z-index:2;transition:left .09s linear}
.slider .edge::after{content:"\\2039\\2009\\203a";position:absolute;top:50%;left:50%;transform:translate(-50%,-50%);
font:700 15px/26px system-ui,sans-serif;width:26px;height:26px;border-radius:50%;background:#fff;color:#222;
text-align:center;box-shadow:0 0 4px #0008}
.slider b{position:absolute;bottom:8px;font:600 12px/1 system-ui,sans-serif;color:#fff;background:#000a;
padding:4px 7px;border-radius:3px}
.slider .over b{left:8px}
.slider .under b{right:8px}
.slider input:focus-visible~.edge{outline:2px solid var(--link);outline-offset:2px}
@media(prefers-reduced-motion:reduce){*{transition:none!important;scroll-behavior:auto!important}}
@media(max-width:600px){main{padding:18px 14px 40px}h1{font-size:1.5rem}h2{margin-top:2rem}}
@media print{.slider .edge::after{display:none}details>*{display:block}}
"""


def _series() -> str:
    """Colours of what is drawn: of bars, lines and the squares of legends."""
    return "".join(
        f".f{n}{{fill:var(--s{n})}}.l{n}{{stroke:var(--s{n})}}.legend .f{n}{{background:var(--s{n})}}" for n in range(6)
    )


def _slider() -> str:
    """Where each label of a slider lies, and where the edge is when it is chosen, or below the mouse."""
    wide = 100.0 / PLACES
    at = [f"{100.0 * place / (PLACES - 1):.4g}%" for place in range(PLACES)]
    rules = [f".slider label{{width:{wide:.4g}%}}"]
    rules += [f".slider label:nth-of-type({n + 1}){{left:{n * wide:.4g}%}}" for n in range(PLACES)]
    rules += [f".slider input:nth-of-type({n + 1}):checked~*{{--x:{x}}}" for n, x in enumerate(at)]
    # Last, so that the mouse wins. A finger's tap leaves both, at the same place.
    return "".join([*rules, *(f".slider label:nth-of-type({n + 1}):hover~*{{--x:{x}}}" for n, x in enumerate(at))])


STYLE = (_BASE + _series() + _slider()).replace("\n", "")
