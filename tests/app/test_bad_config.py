"""What the command line must refuse: one line that names the key, what it must be, what it was."""

import json
import string

import hypothesis
import pytest
from hypothesis import strategies as st
from shared_data import shared
from user_files import refused

from riskengine.app import configure, schema, validate
from riskengine.errors import InputError

DEEP = "[" * 20_000 + "]" * 20_000
P, S, G = "simulation.paths", "simulation.seed", "simulation.grid"
INTEGER = f"{P} must be an integer >= 1 and <= 10000000 (the limit), got "
FUND = ("venue.fund_usd", "number", ">= 0")
TABLE = "+venue.margin.tables.mine"
LIQUIDATOR = "venue.pools.liquidator"
NAME = ("name must be a run_name",)
PHASE = "{duration_min: 20, dt_s: %s}"


def phase(dt: str, more: str = "") -> str:
    return f"{G}=[{{duration_min: 20, dt_s: {dt}}}{more}]"


# id of the catalogue: overrides, then what the line must contain
BAD: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "CFG-001": ([f"{P}=0"], (INTEGER + "0",)),
    "CFG-002": ([f"{P}=-5"], (INTEGER + "-5",)),
    "CFG-003": ([f"{P}=1e12"], (INTEGER + "1e12",)),
    "CFG-003 most": ([f"{P}=10000001"], (INTEGER + "10000001",)),
    "CFG-007": ([f"{P}=null"], (P, "is required", "integer >= 1", "null")),
    "CFG-007 missing": ([f"{P}=???"], (P, "is required")),
    "CFG-008": ([f"{P}=.inf"], (INTEGER + ".inf",)),
    "CFG-008 inf": ([f"{P}=inf"], (INTEGER + "inf",)),
    "CFG-008 nan": ([f"{P}=nan"], (INTEGER + "nan",)),
    "fidelity": (
        ["simulation.fidelity=static"],
        ("simulation.fidelity", "full, grouped, auto", "static"),
    ),
    "super_accounts": (
        ["simulation.super_accounts=99"],
        ("simulation.super_accounts must be an integer >= 100 and <= 1000000", "99"),
    ),
    "estimator": (
        ["simulation.estimator=sobol"],
        ("simulation.estimator", "plain, importance, auto", "sobol"),
    ),
    "rare_paths": (["simulation.rare_paths=10"], ("simulation.rare_paths", ">= 300", "10")),
    "relative_error": (
        ["simulation.relative_error=0"],
        ("simulation.relative_error", ">= 0.01", "0.0"),
    ),
    "relative_error all": (["simulation.relative_error=1"], ("relative_error", "< 1", "1.0")),
    "super_accounts many": (["simulation.super_accounts=1e9"], ("simulation.super_accounts",)),
    "super_accounts null": (["simulation.super_accounts=null"], ("simulation.super_accounts",)),
    "paths float": ([f"{P}=64.0"], (INTEGER + "64.0",)),
    "paths true": ([f"{P}=true"], (INTEGER + "true",)),
    "paths list": ([f"{P}=[1]"], (INTEGER + "[1]",)),
    "paths group": ([f"{P}={{a: 1}}"], (INTEGER + "{a: 1}",)),
    "paths nothing": ([f"{P}="], (INTEGER,)),
    "paths below": ([f"{P}.x=1"], (f"{P}.x is not a key of the schema",)),
    "CFG-010": ([f"{G}=[]"], (G, "at least one phase")),
    "CFG-011": ([phase("0.000001")], (G, "steps >= 1", "limit", "1200000000")),
    "CFG-012": ([phase("0")], (f"{G}[0].dt_s", "> 0", "0.0")),
    "CFG-012 negative": ([phase("-60")], (f"{G}[0].dt_s", "> 0", "-60")),
    "dt does not divide": ([phase("7")], (f"{G}[0].dt_s", "divide the phase of 1200 s", "7.0")),
    "dt nan": ([phase("nan")], (f"{G}[0].dt_s", "finite, > 0", "nan")),
    "dt text": ([phase("5s")], (f"{G}.dt_s", "number > 0", "5s")),
    "grid null": ([f"{G}=null"], (G, "required", "a list", "null")),
    "grid of nothing": ([f"{G}=[null]"], (f"{G}[0]", "{duration_min, dt_s}")),
    "grid of numbers": ([f"{G}=[1,2]"], (f"{G}[0]", "{duration_min, dt_s}", "1")),
    "grid is a number": ([f"{G}=20"], (G, "a list", "20")),
    "grid is a phase": ([f"{G}={{duration_min: 20, dt_s: 5}}"], (G, "a list", "{duration_min")),
    "grid key": ([f"{G}=[{{duration_min: 20, dt: 5}}]"], (f"{G}.dt ", "is not a key")),
    "grid too long": ([phase("60", ", {duration_min: 470, dt_s: 60}")], (G, "480 min", "490 min")),
    "phase too long": ([f"{G}=[{{duration_min: 600}}]"], (f"{G}[0].duration_min", "<= 480")),
    "CFG-013": (["book.accounts=1"], ("book.accounts", ">= 2", "1")),
    "CFG-014": ([f"{S}=-1"], (S, ">= 0", "-1")),
    "CFG-014 most": ([f"{S}=4294967296"], (S, "<= 4294967295", "4294967296")),
    "CFG-016": ([f"{S}=18446744073709551617"], (S, "18446744073709551617")),
    "CFG-017": ([f"{S}=1.5"], (S, "integer", "1.5")),
    "CFG-018": ([f"{S}=null"], (S, "required")),
    "CFG-019": (["venue.fund_usd=-1"], (*FUND, "-1")),
    "CFG-019 share": (["venue.fund_pct=-1"], ("venue.fund_pct", "number >= 0", "-1")),
    "CFG-019 null": (["venue.fund_pct=null"], ("venue.fund_pct", "is required", "null")),
    "CFG-021": (["venue.fund_usd=1e400"], ("venue.fund_usd", "finite", "inf")),
    "CFG-021 nan": (["venue.fund_usd=nan"], ("venue.fund_usd", "finite", "nan")),
    "CFG-022": (["venue.fund_usd=1e-400"], ("venue.fund_usd", "float64", "1e-400")),
    "CFG-023": (["venue.fund_usd='250,000,000'"], (*FUND, "2.5e8", "250,000,000")),
    "CFG-023 bare": (["venue.fund_usd=250,000,000"], (*FUND[:2], "no commas", "250,000,000")),
    "CFG-023 M": (["venue.fund_usd=250M"], (*FUND, "2.5e8", "250M")),
    "CFG-023 dollar": (["venue.fund_usd=$250000000"], (*FUND, "2.5e8", "$250000000")),
    "CFG-023 comma": (["venue.fund_usd='1,5'"], (*FUND, "2.5e8", "1,5")),
    "fund true": (["venue.fund_usd=true"], (*FUND, "true")),
    "CFG-024": (["venue.fund_usd=1e19"], (*FUND, "<= 1e+15", "1e+19")),
    "CFG-027": ([f"{TABLE}=[[0,20,0]]"], ("tables.mine[0]", "maintenance", "> 0")),
    "CFG-027 minus": ([f"{TABLE}=[[0,20,-0.01]]"], ("maintenance", "> 0", "-0.01")),
    "CFG-028": ([f"{TABLE}=[[0,33.3,5]]"], ("maintenance", "initial", "3.003 %", "5")),
    "CFG-029": ([f"{TABLE}=[[0,50,5]]"], ("leverage 50", "initial", "2 %")),
    "leverage below 1": ([f"{TABLE}=[[0,0.5,5]]"], ("tables.mine[0] leverage", ">= 1", "0.5")),
    "first floor": ([f"{TABLE}=[[10,5,5]]"], ("tables.mine[0] floor", "0 in the first", "10")),
    "floors equal": ([f"{TABLE}=[[0,5,5],[0,5,5]]"], ("tables.mine[1]", "higher floor")),
    "row of two": ([f"{TABLE}=[[0,5]]"], ("tables.mine[0]", "three numbers", "[0, 5]")),
    "row of words": ([f"{TABLE}=[[0,5,abc]]"], ("tables.mine[0]", "three numbers", "abc")),
    "row of nan": ([f"{TABLE}=[[0,nan,5]]"], ("tables.mine[0][1]", "finite", "nan")),
    "table is a number": ([f"{TABLE}=5"], ("tables.mine", "list of rows", "5")),
    "table is null": ([f"{TABLE}=null"], ("tables.mine", "list of rows", "null")),
    "table not there": (["venue.margin.tables.mine=[[0,5,5]]"], ("is not there", "+venue.margin")),
    "tables null": (["venue.margin.tables=null"], ("venue.margin.tables", "required", "table")),
    "table unknown": (["venue.margin.default=nosuch"], ("default", "tiered_40x", "nosuch")),
    "market's table": (["venue.margin.markets.BTC=x"], ("markets.BTC", "tiered_40x", "got x")),
    "market's list": (["+venue.margin.markets.X=[1]"], ("markets.X", "text", "[1]")),
    "margin is a number": (["venue.margin=5"], ("venue.margin", "{kind, at, tables", "5")),
    "CFG-031": (["venue.liquidation.liquidation_fee_pct=-0.01"], ("liquidation_fee", "-0.01")),
    "CFG-031 most": (["venue.liquidation.liquidation_fee_pct=50"], ("liquidation_fee", "<= 10")),
    "CFG-032": (["scenario.order_book.exponent=-0.5"], ("exponent", "> 0 and <= 2", "-0.5")),
    "CFG-032 zero": (["scenario.order_book.exponent=0"], ("exponent", "> 0", "0.0")),
    "CFG-032 five": (["scenario.order_book.exponent=5"], ("exponent", "<= 2", "5.0")),
    "CFG-033": (["scenario.order_book.permanent_pct=-1"], ("permanent_pct", ">= 0", "-1.0")),
    "CFG-035": (["scenario.crash.volatility_pct=80"], ("volatility_pct", "<= 20", "80.0")),
    "CFG-036": (["scenario.crash.volatility_pct=-0.5"], ("volatility_pct", ">= 0", "-0.5")),
    "CFG-036 nan": (["scenario.crash.volatility_pct=nan"], ("volatility_pct", "finite", "nan")),
    "CFG-036 .nan": (["scenario.crash.volatility_pct=.nan"], ("volatility_pct", ".nan")),
    "CFG-040": (["scenario.crash.df=2"], ("scenario.crash.df", "> 2", "2.0")),
    "CFG-040 zero": (["scenario.crash.df=0"], ("scenario.crash.df", "> 2", "0.0")),
    "CFG-041": (["scenario.crash.jumps=-1"], ("scenario.crash.jumps", ">= 0", "-1.0")),
    "CFG-041 size": (["scenario.crash.jump_pct=120"], ("jump_pct", "< 100", "120.0")),
    "CFG-042": (["venue.stages=[adl,fund,fund]"], ("venue.stages", "fund once")),
    "CFG-043": (["venue.stages=[fund,adll]"], ("stages[1]", "takeover", "mean adl?", "adll")),
    "stages empty": (["venue.stages=[]"], ("venue.stages", "at least one of book")),
    "stages text": (["venue.stages=adl"], ("venue.stages", "a list", "adl")),
    "stages number": (["venue.stages=[1]"], ("venue.stages[0]", "one of book", "1")),
    "stages of nothing": (["venue.stages=[null]"], ("venue.stages[0]", "one of book", "null")),
    "CFG-045": (["venue.adl.policy=pro-rata"], ("adl", "queue, pro_rata", "pro-rata")),
    "policy and allocation": (
        ["venue.adl.policy=pro_rata", "venue.adl.allocation=sequence"],
        ("venue.adl.allocation", "average", "sequence"),
    ),
    "triggers": (["venue.triggers=[margins]"], ("venue.triggers[0]", "mean margin?", "margins")),
    "triggers twice": (["venue.triggers=[margin,margin]"], ("venue.triggers", "margin once")),
    "thresholds": (["venue.takeover.above_pct=80"], ("takeover.above_pct", "<= below_pct", "80")),
    "book thresholds": (["venue.liquidation.above_pct=200"], ("above_pct", "<= below_pct", "200")),
    "release alone": ([f"{LIQUIDATOR}.release_pct=20"], ("release_pct", "without drawdown", "20")),
    "release": (
        [f"{LIQUIDATOR}.release_pct=20", f"{LIQUIDATOR}.drawdown_pct=10"],
        (f"{LIQUIDATOR}.release_pct", "<= drawdown_pct (10)", "20"),
    ),
    "left alone": (["venue.adl.profit_left_pct=60"], ("profit_left", "without profit_cap", "60")),
    "left above": (["venue=gmx_v2", "venue.adl.profit_left_pct=95"], ("profit_cap_pct (85)", "95")),
    "all of a side": (
        ["venue=gmx_v2", "venue.adl.profit_cap_pct=300", "venue.adl.profit_left_pct=200"],
        ("venue.adl.profit_left_pct", "< 200", "200"),
    ),
    "idle limit": (["venue.liquidation.limit_pct=5"], ("limit_pct", "without limit", "5")),
    "idle ramp": (["venue.liquidation.ramp_start_pct=5"], ("ramp_start", "without ramp_s", "5")),
    "idle multiple": (["venue.liquidation.multiple_pct=5"], ("multiple", "sizing to_margin", "5")),
    "idle discount": (
        ["venue=bybit", "venue.takeover.discount_pct=5"],
        ("takeover.discount", "price mark", "5"),
    ),
    "idle penalty": (
        ["venue=bybit", "venue.takeover.penalty_pct=5"],
        ("takeover.penalty", "price mark", "5"),
    ),
    "idle spread": (
        ["venue=bybit", "venue.adl.pool_price=bankruptcy", "venue.adl.spread_pct=5"],
        ("adl.spread_pct", "price mark or previous_mark", "5"),
    ),
    "idle deviation": (
        ["venue=bybit", "venue.adl.price=mark", "venue.adl.deviation_pct=5"],
        ("adl.deviation_pct", "price bankruptcy", "5"),
    ),
    "idle top": (["venue.adl.top=5"], ("adl.top", "policy top", "5")),
    "idle withdrawals": (["venue.withdrawn_pct=5"], ("withdrawn_pct", "social balances", "5")),
    "CFG-046": (["target.adl_probability=99"], ("target.adl_probability", "< 1", "99.0")),
    "CFG-047": (["simulation.confidence=1.0"], ("confidence", "> 0.5 and < 1", "1.0")),
    "CFG-047 zero": (["simulation.confidence=0"], ("confidence", "0.0")),
    "CFG-047 percent": (["simulation.confidence=95"], ("confidence", "95.0")),
    "CFG-049": (["simulation.batch=0"], ("simulation.batch", ">= 1", "0")),
    "CFG-049 minus": (["simulation.batch=-1"], ("simulation.batch", ">= 1", "-1")),
    "CFG-051": (["simulation.precision=bfloat16"], ("precision", "float64, float32", "bfloat16")),
    "CFG-051 half": (["simulation.precision=float16"], ("precision", "float16")),
    "device": (["simulation.device=tpu"], ("simulation.device", "auto, cpu, gpu", "tpu")),
    "CFG-053": (["simulation.path=5000"], ("simulation.path ", "did you mean simulation.paths")),
    "group misspelt": (["simulatoin.paths=5"], ("simulatoin.paths", "mean simulation.paths")),
    "CFG-059": ([f"{G}={DEEP}"], (G, "deeper than 20 in the config")),
    "CFG-059 open": ([f"name={DEEP[:20_000]}"], ("name", "deeper than 20")),
    "CFG-059 keys": (["+" + "a." * 20_000 + "b=1"], ("a.a.a.a", "is not a key of the schema")),
    "endless": ([f"name={'x' * 1_000_000}"], ("name", "100000 characters (the limit)")),
    "CFG-063": (["name=\udcff"], ("UTF-8", "name=?")),
    "CFG-068": (["name=${oc.decode:X}"], ("name", "resolver", "oc.decode")),
    "CFG-068 unknown": (["name=${eval:1}"], ("name", "resolver", "eval")),
    "CFG-068 environment": (["name=${oc.env:HOME}"], ("name", "resolver")),
    "CFG-068 quoted": (["name='${oc.env:HOME}'"], ("name", "resolver")),
    "CFG-068 indirect": (["name=oc.env", "runs='${${name}:HOME}'"], ("runs", "resolver")),
    "CFG-069": (["name=${name}"], ("name has a reference", "Recursive")),
    "CFG-069 unknown": (["name=${nosuch}"], ("name has a reference", "'nosuch' not found")),
    "CFG-069 type": ([f"{P}=${{name}}"], (f"{P} has a reference", "Integer")),
    "CFG-070": (["+venue.pools.x={_target_: os.system}"], ("_target_ is not a key",)),
    "CFG-070 key": (["+venue._target_=os.system"], ("_target_ is not a key",)),
    "CFG-075": (["hydra.job.env_set={A: b}"], ("hydra.job.env_set", "hydra/launcher")),
    "CFG-075 plus": (["+hydra.job.env_set.XLA_FLAGS=x"], ("hydra.job.env_set.XLA_FLAGS",)),
    "CFG-075 minus": (["~hydra"], ("hydra must not be set",)),
    "CFG-076": (["hydra/sweeper=basic"], ("hydra/sweeper must not be set",)),
    "CFG-076 path": (["hydra.searchpath=[pkg://os]"], ("hydra.searchpath must not be set",)),
    "CFG-076 launcher": (["hydra/launcher=basic"], ("with -m",)),
    "CFG-078": (["book.markets=[]"], ("book.markets", "at least one")),
    "markets twice": (["book.markets=[BTC,BTC]"], ("book.markets", "BTC once")),
    "market unnamed": (["book.markets=['']"], ("book.markets", "1 to 200 characters")),
    "market unprintable": (['book.markets=["a\tb"]'], ("book.markets[0]", "printable", "\\t")),
    "market without share": (["book.markets=[DOGE]"], ("+book.market_share_pct.DOGE", "> 0")),
    "share negative": (["book.market_share_pct.BTC=-1"], ("market_share_pct.BTC", ">= 0", "-1")),
    "share text": (["book.market_share_pct.BTC=abc"], ("market_share_pct.BTC", "number", "abc")),
    "no makers": (["book.makers=0"], ("book.makers", ">= 1", "0")),
    "CFG-080": (["+venue.pools.vault.fixed_pct=-1"], ("pools.vault.fixed_pct", ">= 0", "-1")),
    "CFG-080 share": ([f"{LIQUIDATOR}.share_pct=120"], ("share_pct", "<= 100", "120")),
    "shares do not add": ([f"{LIQUIDATOR}.share_pct=50"], ("venue.pools", "add to 100", "50")),
    "pool shares too much": (["+venue.pools.x={share_pct: 5}"], ("venue.pools", "100", "105")),
    "pool not there": (["venue.pools.x.share_pct=5"], ("venue.pools.x is not there", "+venue")),
    "pool there": ([f"+{LIQUIDATOR}={{}}"], (LIQUIDATOR, "is there already", "without +")),
    "pool key": (["+venue.pools.x={sharepct: 5}"], ("pools.x.sharepct", "venue.pools.x.share_pct")),
    "pool value": (["+venue.pools.x={share_pct: a}"], ("pools.x.share_pct", "number >= 0", "a")),
    "pool is a number": (["+venue.pools.x=5"], ("venue.pools.x", "{share_pct,", "5")),
    "pool is null": (["+venue.pools.x=null"], ("venue.pools.x", "required", "null")),
    "pools null": (["venue.pools=null"], ("venue.pools", "required", "table", "null")),
    "owner": ([f"{LIQUIDATOR}.owner=nobody"], (f"{LIQUIDATOR}.owner", "parent", "nobody")),
    "owner gone": (["~venue.pools.parent"], (f"{LIQUIDATOR}.owner", "none", "parent")),
    "markets of a pool": ([f"{LIQUIDATOR}.markets=[BTC,BTC]"], (f"{LIQUIDATOR}.markets", "BTC")),
    "not removable": (["~venue.pools"], ("venue.pools cannot be removed",)),
    "not removable value": ([f"~{P}"], (f"{P} cannot be removed",)),
    "not removable, not there": (["~venue.pools.x"], ("venue.pools.x is not there",)),
    "CLI-001": (["n_paths=5"], ("n_paths", "did you mean simulation.paths")),
    "CLI-003": ([f"{P}=abc"], (INTEGER + "abc",)),
    "CLI-005": (["+extra.key=1"], ("extra.key is not a key",)),
    "there already": ([f"+{P}=64"], (P, "is there already: set it without +")),
    "CLI-006": ([f"{S}=1", f"{S}=2"], (S, "once", f"{S}=1", f"{S}=2")),
    "venue twice": (["venue=binance", "venue=yardstick"], ("venue", "once", "venue=binance")),
    "CLI-007": ([f"{P}=choice(1,2"], (P, "no viable alternative at input 'choice(1,2'")),
    "sweep without -m": ([f"{S}=1,2"], (S, "several need -m", "1,2")),
    "range without -m": ([f"{S}=range(0,3)"], (S, "several need -m")),
    "CLI-012": (["venue=nosuch"], ("venue", "aevo, binance", "nosuch")),
    "venue misspelt": (["venue=binanc"], ("did you mean binance?", "binanc")),
    "venue null": (["venue=null"], ("venue", "aevo, binance")),
    "venue list": (["venue=[binance,hyperliquid]"], ("venue", "aevo, binance")),
    "venue group": (["venue={name: x}"], ("venue", "aevo, binance")),
    "venue path": (["venue=../book/file"], ("venue", "aevo, binance", "../book/file")),
    "venue absolute": (["venue=/etc/passwd"], ("venue", "binance", "/etc/passwd")),
    "group unknown": (["venues=binance"], ("venues", "did you mean venue?")),
    "experiment misspelt": (["experimnt=small"], ("experimnt", "did you mean experiment?")),
    "group elsewhere": (["book@venue=synthetic"], ("must not name a package",)),
    "experiment unknown": (["experiment=nosuch"], ("experiment", "october_2025", "nosuch")),
    "no experiment": (["~experiment"], (G, "at least one phase")),
    "CLI-014": (["report"], ("report", "KEY=VALUE", "usage: riskengine")),
    "CLI-017": (["\udcff=1"], ("override", "UTF-8")),
    "nothing": ([""], ("KEY=VALUE", "usage")),
    "equals": (["="], ("KEY=VALUE", "usage")),
    "value alone": (["=5"], ("KEY=VALUE", "usage")),
    "two equals": (["name=b=c"], ("name", "KEY=VALUE", "name=b=c")),
    "two dots": (["simulation..paths=5"], ("simulation..paths", "KEY=VALUE")),
    "OUT-001": (["name=../../x"], (*NAME, "../../x")),
    "OUT-001 absolute": (["name=/abs/path"], (*NAME, "/abs/path")),
    "OUT-001 parent": (["name=.."], (*NAME, "..")),
    "OUT-001 here": (["name=."], (*NAME, "got .")),
    "OUT-001 empty": (["name=''"], NAME),
    "OUT-002": (["name=a\0b"], ("name", "\\x00")),
    "OUT-002 line": (["name=a\nb"], ("name", "a\\nb")),
    "OUT-002 quoted line": (['name="a\nb"'], ("name", "a\\nb")),
    "OUT-002 minus": (["name='-x'"], (*NAME, "-x")),
    "OUT-002 space": (["name='a '"], NAME),
    "OUT-002 long": ([f"name={'a' * 300}"], (*NAME, "aaa…")),
    "OUT-002 CON": (["name=CON"], (*NAME, "CON")),
    "OUT-002 nul": (["name=nul.txt"], (*NAME, "nul.txt")),
    "name null": (["name=null"], ("name", "required", "null")),
    "runs null": (["runs=null"], ("runs", "required", "null")),
    "runs empty": (["runs=''"], ("runs", "required")),
    "title": (['venue.title="a\x1b[31mb"'], ("venue.title", "printable", "\\x1b")),
    "RES-001": (
        [f"{P}=10000000", "book.accounts=1000000"],
        (P, "paths x steps x accounts", "limit", "memory"),
    ),
    "book without path": (["book=file"], ("book.path is required",)),
    "book path empty": (["book=file", "book.path=''"], ("book.path is required",)),
    "book path missing": (["book=file", "book.path=???"], ("book.path is required",)),
    "book path null": (["book=file", "book.path=null"], ("book.markets", "at least one")),
    "book path list": (["book=file", "book.path=[1]"], ("book.path", "text", "[1]")),
    "law and path": (["book.path=x.csv"], ("book.path", "book=file", "x.csv")),
    "replay without path": (["scenario=replay"], ("scenario.path is required",)),
    "replay law": (["scenario.law=replay"], ("scenario.path is required",)),
    "path without replay": (["scenario.path=x"], ("scenario.path", "law is replay", "got x")),
    "no data": (["experiment=oct10"], ("data.root is required",)),
    "no data, book": (["book=hyperliquid_snapshot"], ("data.root is required", "book.path")),
    "no data, prices": (
        ["scenario=october_2025_prices"],
        ("data.root is required", "scenario.path"),
    ),
    "levers of a ladder": (
        ["task=sensitivity", "scenario=ladder"],
        ("scenario.law must draw or replay crashes", "no probabilities", "ladder"),
    ),
    "levers of groups": (
        ["task=sensitivity", "simulation.fidelity=grouped"],
        ("simulation.fidelity must be full for task=sensitivity", "grouped"),
    ),
    "levers and ranges": (["task=sensitivity", "ranges=true"], ("ranges must be false", "true")),
    "levers of few paths": (
        ["task=sensitivity", f"{P}=63"],
        (f"{P} must be >= 64, 2 for every book", "got 63"),
    ),
    "response": (
        ["design.response=1.5"],
        ("design.response must be a number >= 0 and <= 1", "1.5"),
    ),
    "task": (["task=tune"], ("task", "run, replay", "tune")),
    "task replay": (["task=replay"], ("scenario.law", "replay", "crash")),
    "shock": (["scenario=ladder", "scenario.ladder.shocks_pct=[-100]"], ("[0]", "> -100")),
    "no shocks": (["scenario=ladder", "scenario.ladder.shocks_pct=[]"], ("at least one shock",)),
    "concentration": (
        ["scenario=concentration", "scenario.concentration.market=DOGE"],
        ("scenario.concentration.market", "BTC, ETH, SOL, XRP", "DOGE"),
    ),
    "law of a market": (["scenario.markets.BTC.bta=1"], ("scenario.markets.BTC.beta",)),
    "sensitivities": (["scenario.depth.other_sensitivity=100"], ("<= own_sensitivity (25)", "100")),
    "evidence": (["venue.evidence=[{kind: rumour}]"], ("evidence[0].kind", "published", "rumour")),
}
SWEEPS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "CLI-008": ([f"{S}=range(0,1,0)"], (S, "range", "step other than 0")),
    "range of nan": ([f"{S}=range(nan,3,1)"], (S, "finite")),
    "range to infinity": ([f"{S}=range(0,inf,1)"], (S, "finite")),
    "range of nothing": ([f"{S}=range(10,0,3)"], (S, "at least one value")),
    "RES-004": ([f"{S}=range(0,1000000)"], ("sweep", "limit", "10000 jobs")),
    "RES-004 product": ([f"{S}=range(0,1000)", f"{P}=range(1,1001)"], ("limit",)),
    "RES-004 huge": ([f"{S}=range(0,1e300,1)"], ("limit",)),
    "RES-004 listed": ([f"{S}={','.join(map(str, range(10_001)))}"], ("limit",)),
    "twice": ([f"{S}=1,2,1"], (S, "must not repeat")),
    "glob": (["venue=glob(*)"], ("venue", "several values, or a range")),
    "interval": ([f"{S}=interval(0,1)"], (S, "several values, or a range")),
    "open": ([f"{S}=choice(1,2"], (S, "no viable alternative")),
    "key": (["simulation.sed=1,2"], ("did you mean simulation.seed",)),
    "launcher": (["hydra/launcher@x=basic", f"{S}=1,2"], ("hydra/launcher@x",)),
}
GOOD: dict[str, tuple[list[str], dict[str, object]]] = {
    "CFG-005": ([f"{P}='1000'"], {P: 1000}),
    "CFG-025": (["venue.fund_usd=0"], {"venue.fund_usd": 0.0}),
    "exponents": (["venue.fund_usd=2.5e8"], {"venue.fund_usd": 2.5e8}),
    "no fund in dollars": (["venue.fund_usd=null"], {"venue.fund_usd": None}),
    "reference": (["name=${venue.name}"], {"name": "hyperliquid"}),
    "path": (["book=file", "book.path=x.csv"], {"book.path": "x.csv", "book.markets": []}),
    "empty experiment": (["~experiment", phase("5")], {"name": "run", P: 4096}),
    "group": (["simulation={paths: 8, seed: 3}"], {P: 8, S: 3}),
    "data": (["experiment=oct10", "data.root=/d"], {"book.path": "/d/hl_whales_20260222"}),
    "new pool": (
        ["+venue.pools.x={fixed_pct: 2, markets: [BTC]}", "venue.pools.x.owner=parent"],
        {"venue.pools.x.fixed_pct": 2.0, "venue.pools.x.owner": "parent"},
    ),
    "new pool, key by key": (
        ["+venue.pools.x.fixed_pct=2", "+venue.pools.x.unwind_pct=3"],
        {"venue.pools.x.fixed_pct": 2.0, "venue.pools.x.unwind_pct": 3.0},
    ),
    "pool removed": (
        ["~venue.pools.parent", "venue.pools.liquidator.owner=''"],
        {"venue.pools.liquidator.owner": ""},
    ),
    "new table": (
        [f"{TABLE}=[[0,20,2.5],[1e6,10,5]]", "+venue.margin.markets.PEPE=mine"],
        {"venue.margin.markets.PEPE": "mine"},
    ),
    "new market": (
        ["book.markets=[BTC,PEPE]", "+book.market_share_pct.PEPE=5"],
        {"book.markets": ["BTC", "PEPE"], "book.market_share_pct.PEPE": 5.0},
    ),
    "law of a new market": (
        ["+scenario.markets.PEPE={beta: 2}"],
        {"scenario.markets.PEPE.beta": 2.0, "scenario.markets.PEPE.own_volatility": 0.5},
    ),
}
# Surfaces that do not exist, entries tested elsewhere, and two that are not tested.
NOT_HERE = {
    "CFG-030": "no trading fees",
    "CFG-038 CFG-039": "no correlation matrix: one common factor",
    "CFG-055 CFG-056 CFG-057 CFG-064 CFG-065": "no configuration files of the user's",
    "CFG-079": "no schema_version key; the run folder has one",
    "CFG-082 CLI-018": "no command compares or reads runs",
    "CLI-013": "no --config-path",
    "CFG-052 CLI-011 CLI-015 OUT-005": "test_command.py",
    "OUT-004 OUT-008 OUT-010": "test_store.py; no Markdown tables",
    "RES-003 RES-006": "simulate halves its batches; progress shows the time left",
    "RES-005": "test_crashes.py",
    "ENV-005 ENV-006 ENV-007 ENV-009 ENV-010 ENV-011 ENV-015": "test_command.py",
    "ENV-014": "montecarlo/probes.py",
    "ENV-012 ENV-013": "not tested",
}


def read(overrides: list[str]):
    config = configure.load(overrides)
    validate.check(config)
    return config


@pytest.mark.parametrize("case", BAD)
def test_refused(case):
    overrides, parts = BAD[case]
    refused(lambda: read(overrides), *parts)


@pytest.mark.parametrize("case", SWEEPS)
def test_sweep_refused(case):
    overrides, parts = SWEEPS[case]
    refused(lambda: configure.jobs(overrides), *parts)


@pytest.mark.parametrize("case", GOOD)
def test_accepted(case):
    overrides, values = GOOD[case]
    config = read(overrides)
    for name, expected in values.items():
        found = config
        for part in name.split("."):
            found = found[part] if isinstance(found, dict) else getattr(found, part)
        assert found == expected and type(found) is type(expected), name


def test_jobs_of_a_sweep():
    """CLI-011: all combinations, in order, with every digit."""
    jobs = configure.jobs(["venue.fund_pct=0.1,0.30000000000000004", f"{S}=range(0,3)", "name=a"])
    assert len(jobs) == 6 and jobs[0] == ["venue.fund_pct=0.1", f"{S}=0", "name=a"]
    funds = [read(job).venue.fund_pct for job in jobs]
    assert funds == [0.1] * 3 + [0.30000000000000004] * 3
    assert len(configure.jobs(["venue=binance,hyperliquid", f"{S}=choice(1,2)"])) == 4
    assert configure.jobs([]) == [[]]


def test_bad_jobs_are_found_before_the_first_runs():
    jobs = configure.jobs([f"{P}=64,0", "venue=binance,nosuch"])
    assert read(jobs[0]).simulation.paths == 64
    refused(lambda: read(jobs[1]), "venue", "nosuch")
    refused(lambda: read(jobs[2]), INTEGER + "0")


def test_a_hydra_application_may_ask():
    """Composing leaves the hydra of a caller as it was."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    with initialize_config_dir(config_dir=str(configure.CONF), version_base="1.3"):
        before = GlobalHydra.instance().hydra
        configure._composed.cache_clear()
        read([])
        assert before is not None and GlobalHydra.instance().hydra is before


def test_the_catalogue_is_covered():
    entries = json.loads(shared("bad_inputs.json").read_text(encoding="utf-8"))["entries"]
    asked = {e["id"] for e in entries if e["id"][:3] in ("CFG", "CLI", "OUT", "RES", "ENV")}
    tested = {case.split()[0] for case in [*BAD, *SWEEPS, *GOOD]}
    elsewhere = {case for cases in NOT_HERE for case in cases.split()}
    assert asked - tested - elsewhere == set() and tested & elsewhere == set()


KEYS = [name for name, _ in schema.keys()]
VALUES = st.text(string.digits + "abce.,:+-_[]{}()$'\"\\/ %é\0\n", max_size=12)
LINES = st.text("simulation.paths=venue+~@/[]{},$:'\"\\ \n\0é𝟙_-0123456789", max_size=20)


def only_one_line(overrides: list[str]) -> None:
    """Accepted, or refused in one line: nothing else comes out."""
    try:
        read(overrides)
    except InputError as error:
        text = f"error: {error}"
        assert text.isprintable() and len(text) <= 300, text


@hypothesis.given(LINES)
@hypothesis.settings(max_examples=150)
def test_any_text_is_accepted_or_refused(line):
    only_one_line([line])


@hypothesis.given(st.sampled_from(KEYS), st.sampled_from(["", "+", "~", "++"]), VALUES)
@hypothesis.settings(max_examples=200)
def test_any_value_is_accepted_or_refused(key, sign, value):
    only_one_line([f"{sign}{key}={value}"])
