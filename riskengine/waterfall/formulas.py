"""What venues compute, as published: one function per formula, with operators alone.

The same function takes integers and fractions exactly, floats, and JAX arrays where the engine
uses it. What an operator cannot say is passed in: `minimum` and `maximum` for arrays, `where` for
a choice by element. Divisors are not zero and rounding is the caller's. USD stands for the
settlement currency; sizes are positive when long; ratios and fees are fractions.
"""


def choose(condition, yes, no):
    """`yes` where the condition holds: the choice for one number."""
    return yes if condition else no


# Margin


def marginal_margin(value, ratio, deduction):
    """r·v − d, USD: maintenance margin in a marginal bracket (Binance, Bybit, Hyperliquid, Gate)."""
    return ratio * value - deduction


def next_deduction(floor, ratio, ratio_before, deduction_before):
    """d_j = d_{j−1} + floor_j (r_j − r_{j−1}), USD: the deduction that keeps brackets continuous."""
    return deduction_before + floor * (ratio - ratio_before)


def tier_value(value, floors, values, found, where=choose):
    """The entry of the highest tier whose floor `value` has reached; `found` below the first."""
    for floor, tier in zip(floors, values, strict=True):
        found = where(value >= floor, tier, found)
    return found


def stepped(base, steps, step):
    """base + steps·step: a rate or a cap that grows by a constant from tier to tier (BitMEX, OKX)."""
    return base + steps * step


def linear_ratio(base, slope, size):
    """base + slope·|size|, fraction: margin that grows with coins held (Deribit)."""
    return base + slope * abs(size)


def root_ratio(least, factor, size, maximum=max):
    """max(least, k·√size), fraction: initial margin of large positions (FTX, Coinbase)."""
    return maximum(least, factor * size**0.5)


def size_premium(ratio, root, factor):
    """(r − r/5) + k·root, fraction; the margin ratio is the larger of this and r (Drift)."""
    return ratio - ratio / 5 + factor * root


def interest_scaled_ratio(initial, interest, lower, upper, minimum=min, maximum=max):
    """m + clamp((OI − lower)/(upper − lower), 0, 1)·(1 − m), fraction: scaled by open interest (dYdX)."""
    part = minimum(maximum((interest - lower) / (upper - lower), 0), 1)
    return initial + part * (1 - initial)


def close_out_margin(margin, divisor, maintenance, offset, maximum=max):
    """max(m/divisor, M − offset), fraction: the third margin (Coinbase: IM/3, 12 %; FTX: MMF/2, 6 %)."""
    return maximum(margin / divisor, maintenance - offset)


def share_of(value, part):
    """part·v: a fixed share (two thirds of a margin, a collateral's weight)."""
    return part * value


def hedged_margin(long, short, offset, minimum=min):
    """long + short − offset·min(long, short): margin of both legs of one contract (HTX)."""
    return long + short - offset * minimum(long, short)


def inverse_value(contracts, face, price):
    """face·contracts/price, coins: value of inverse contracts."""
    return face * contracts / price


def health(equity, maintenance):
    """e/M, fraction; also the equity behind each dollar of maintenance margin."""
    return equity / maintenance


def liquidatable(equity, maintenance):
    """M > 0 and e < M."""
    return (maintenance > 0) & (equity < maintenance)


def margin_after_closing(margin, share):
    """(1 − f)·M, USD: after the same share of all positions is closed (Paradex)."""
    return (1 - share) * margin


# Prices


def gain(size, price, reference):
    """q·(p − p₀), USD: what a signed size gains between two prices."""
    return size * (price - reference)


def entry_return(mark, entry, side):
    """side·(p − p₀)/p₀, fraction of entry."""
    return side * (mark - entry) / entry


def liquidation_price(equity, reference, size, ratio, deduction):
    """(e − q·p₀ + d)/(r·|q| − q), USD/coin: equity meets r·|q|·p − d, given equity e at price p₀.

    Binance, Bybit, Hyperliquid, Gate, Phemex, dYdX. With a closing fee, r includes it; with r = d = 0
    it is the bankruptcy price of one position; margin frozen at entry is r = 0 and d = −M.
    """
    return (equity - size * reference + deduction) / (ratio * abs(size) - size)


def bankruptcy_price(mark, size, required, equity_per_margin):
    """p − M_k·(e/M)/q_k, USD/coin: all closed at these, equity is zero; or e/M is kept by each one.

    The zero price of Lighter, FTX and Kraken, and the price at which dYdX deleverages.
    """
    return mark - required * equity_per_margin / size


def bankruptcy_quote(received_at_mark, equity, released, required):
    """Q − e·ΔM/M, USD: cash for closing a part whose margin ΔM is released, at bankruptcy (dYdX)."""
    return received_at_mark - equity * released / required


def inverse_price(contracts, entry, margin, maintenance, ratio):
    """(q + r·|q|)/(m − M + q/p₀), USD/coin: equity m + q(1/p₀ − 1/p) meets M + r·|q|/p (inverse).

    Bybit freezes maintenance at entry (M > 0, r = 0), Kraken marks it (M = 0); bankruptcy is both 0.
    """
    return (contracts + ratio * abs(contracts)) / (margin - maintenance + contracts / entry)


def with_fee(price, side, fee):
    """p·(1 − side·φ), USD/coin: a price worse for the closed side by a fee (Drift's liquidator)."""
    return price * (1 - side * fee)


def distress(equity, required, adjustment, minimum=min, maximum=max):
    """clamp(a·(1 − e/M), 0, 1): how far an account is on its way to bankruptcy (dYdX)."""
    return minimum(maximum(adjustment * (1 - equity / required), 0), 1)


def fillable_price(mark, size, required, distress, spread):
    """p − ABR·s·M_k/q_k, USD/coin: worst price of a liquidation order, s of M_k beyond mark (dYdX)."""
    return mark - distress * spread * required / size


def blend(first, second, weight):
    """w·a + (1 − w)·b (FTX's backstop: ⅔ zero price, ⅓ mark)."""
    return weight * first + (1 - weight) * second


def improved_limit(bankruptcy, fund, size):
    """p_bk − F/q, USD/coin: a limit so far beyond bankruptcy as the fund can pay (BitMEX)."""
    return bankruptcy - fund / size


def price_off(price, side, fraction):
    """p·(1 − side·x), USD/coin: a price moved against a side."""
    return price * (1 - side * fraction)


def deviation(price, reference):
    """|p/p₀ − 1|."""
    return abs(price / reference - 1)


def funding_mark(index, rate, remaining, interval):
    """i·(1 + f·t/T), USD/coin: index plus the funding still due (Binance's price 1)."""
    return index * (1 + rate * remaining / interval)


def median(a, b, c, minimum=min, maximum=max):
    """The middle one of three prices (Binance's mark)."""
    return maximum(minimum(a, b), minimum(maximum(a, b), c))


# Sizing


def share_to_margin(target, equity, spent):
    """f = (T − e)/(T − c): the share of all positions with e − f·c = (1 − f)·T."""
    return (target - equity) / (target - spent)


def size_for_shortage(shortage, price, ratio, fee, fund_price, fund_fee):
    """S/(p·(r − φ) − p_f·φ_f), coins: closing restores the margin that S lacks (Drift)."""
    return shortage / (price * (ratio - fee) - fund_price * fund_fee)


def freeable(shortage, freed, part, maximum=max):
    """(x·(S + f) − f)⁺, USD: what a ramp x allows to be freed, f of it done (Drift)."""
    return maximum(part * (shortage + freed) - freed, 0)


def clip(value, least, portion, left, minimum=min, maximum=max):
    """min(max(least, portion·v), left), USD: notional of one step (dYdX)."""
    return minimum(maximum(least, portion * value), left)


def excess(size, limit, maximum=max):
    """(q − limit)⁺: what a lower tier or a capacity does not hold (OKX, Kraken)."""
    return maximum(size - limit, 0)


def backstop_share(health, maintenance_health):
    """1 − MF/ACMF: part of a position that backstop providers take at once (FTX)."""
    return 1 - health / maintenance_health


# Takeover and fund


def backstop_capacity(equity, factor, notional, share, used, minimum=min):
    """min(factor·e − N, share·e − used), USD: what a provider still takes (Deribit)."""
    return minimum(factor * equity - notional, share * equity - used)


def inventory_room(cap, balance, now, then):
    """(κ·F − N₀)/(N₁ − N₀): the part of a takeover that an inventory cap leaves room for (Binance)."""
    return (cap * balance - now) / (then - now)


def insurance_delta(size, bankruptcy, fill):
    """q·(p − p_bk), USD: what the fund gains when a size closes at p and settles at p_bk."""
    return size * (fill - bankruptcy)


def inverse_insurance_delta(contracts, bankruptcy, fill):
    """q·(1/p_bk − 1/p), coins: the same for inverse contracts (Bybit)."""
    return contracts * (1 / bankruptcy - 1 / fill)


def surplus_fee(delta, value, rate, minimum=min):
    """min(δ, rate·|v|), USD: a fee out of the surplus over bankruptcy alone (dYdX, Lighter)."""
    return minimum(delta, rate * abs(value))


def affordable_fee(ratio, fee, shortage, value, part, most, minimum=min, maximum=max):
    """min(most, part·(r − φ − S/v)⁺): the fund's fee as far as the account can pay it (Drift)."""
    return minimum(most, part * maximum(maximum(ratio - fee, 0) - shortage / value, 0))


def ramped_fee(fee, increase, elapsed, most, minimum=min):
    """min(φ + increase·t, most): a liquidator's fee that grows while nobody comes (Drift)."""
    return minimum(fee + increase * elapsed, most)


def penalty(share, rate, maintenance):
    """share·rate·M, USD: charged on a partial liquidation (Paradex)."""
    return share * rate * maintenance


def fund_payment(balance, due, minimum=min, maximum=max):
    """min(F⁺, D), USD: what a fund pays of an amount due."""
    return minimum(maximum(balance, 0), due)


def payable(balance, delta):
    """δ ≥ 0 or F + δ ≥ 0: a fund refuses a fill that it cannot pay (dYdX)."""
    return (delta >= 0) | (balance + delta >= 0)


# Triggers


def drawdown(now, peak, capital):
    """(A − peak A)/peak F, fraction: fall of a market's profit against its pool (Bybit)."""
    return (now - peak) / capital


def drawdown_price(bankruptcy, size, fund_loss):
    """p_bk − loss/q, USD/coin: ADL price with which the fund loses just so much (Bybit)."""
    return bankruptcy - fund_loss / size


def drawdown_line(reference, share, least, maximum=max):
    """F₀ − max(x·F₀, least), USD: balance below which ADL starts (OKX)."""
    return reference - maximum(share * reference, least)


def profit_factor(profit, pool):
    """U/pool, fraction: the winners' claim on the pool that pays them (GMX)."""
    return profit / pool


# Ranking


def profit_leverage(profit_share, leverage, maximum=max):
    """max(u/v, 1e-8)·max(n/e, 1e-8) of profit on entry u/v and leverage n/e (Hyperliquid, observed)."""
    return maximum(profit_share, 1e-8) * maximum(leverage, 1e-8)


def quoted_index(mark, entry, leverage):
    """(p/p₀)·(n/e): the index as Hyperliquid's page states it; it falls with a short's profit."""
    return mark / entry * leverage


def return_leverage(share, leverage):
    """(u/n)·L of a winner (Binance, BitMEX)."""
    return share * leverage


def loss_leverage(share, leverage):
    """(u/n)/L of a loser (Binance, BitMEX)."""
    return share / leverage


def wallet_return(profit, wallet, maximum=max):
    """u/max(1, wallet): profit against the balance (Aevo, Aster; Binance until 2023)."""
    return profit / maximum(1, wallet)


def effective_leverage(value, entry_value):
    """|v|/(v − b): market value against its distance from bankruptcy value (BitMEX)."""
    return abs(value) / (value - entry_value)


# Allocation and settlement


def taken(held, ahead, wanted, minimum=min, maximum=max):
    """min(q, (W − ahead)⁺): a counterparty's part when those ahead of it go first."""
    return minimum(held, maximum(wanted - ahead, 0))


def pro_rata(held, total, wanted):
    """W·q/Σq: a counterparty's part in proportion to size (FTX)."""
    return wanted * held / total


def loss_rate(loss, capacity):
    """D/Σ gains, fraction of every winner's gain (OKEx, HTX and FTX: clawback)."""
    return loss / capacity


def withdrawal_haircut(loss, balances):
    """D/(Σ balances + D), fraction of a withdrawal while the fund is short (Paradex)."""
    return loss / (balances + loss)


def funding_delta(loss, long, short):
    """D/(|long| + |short|), USD/coin: added to both sides' funding index (Drift, Vertex)."""
    return loss / (abs(long) + abs(short))


def deposit_delta(index, borrow, deposits):
    """I·B/deposits: lowers the deposit index by a bad loan (Drift)."""
    return index * borrow / deposits


def paid_share(factor, pool, profit, minimum=min):
    """min(1, x·pool/U): part of their profit that winners are paid (GMX)."""
    return minimum(1, factor * pool / profit)
