"""The loop whose time jumps."""

from __future__ import annotations

import asyncio

import pytest

from boltzmann.simulate.clock import SimulationStuck, run_virtual, spend, when_idle


def test_time_jumps_from_timer_to_timer() -> None:
    async def main() -> list[tuple[str, float]]:
        loop, seen = asyncio.get_running_loop(), []

        async def wake(name: str, after: float) -> None:
            await asyncio.sleep(after)
            seen.append((name, loop.time()))

        await asyncio.gather(wake("year", 365 * 86400.0), wake("second", 1.0), wake("hour", 3600.0))
        return seen

    assert run_virtual(main()) == [("second", 1.0), ("hour", 3600.0), ("year", 31536000.0)]


def test_a_timeout_ends_a_wait_at_its_virtual_second() -> None:
    async def main() -> float:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.get_running_loop().create_future(), 15.0)
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == pytest.approx(15.0)


def test_what_would_run_in_threads_runs_in_order_and_at_once() -> None:
    async def main() -> tuple[list[int], float]:
        order: list[int] = []
        await asyncio.gather(*(asyncio.to_thread(order.append, number) for number in range(20)))
        return order, asyncio.get_running_loop().time()

    assert run_virtual(main()) == (list(range(20)), 0.0)


def test_an_exception_of_the_called_function_reaches_who_awaits_it() -> None:
    async def main() -> None:
        await asyncio.to_thread(int, "no number")

    with pytest.raises(ValueError, match="no number"):
        run_virtual(main())


def test_a_call_may_take_virtual_time_and_others_go_on() -> None:
    async def main() -> list[tuple[str, float]]:
        loop, seen = asyncio.get_running_loop(), []

        async def slow() -> None:
            await asyncio.to_thread(spend, 7.0)
            seen.append(("slow", loop.time()))

        async def quick() -> None:
            await asyncio.to_thread(int, "1")
            seen.append(("quick", loop.time()))

        await asyncio.gather(slow(), quick())
        return seen

    assert run_virtual(main()) == [("quick", 0.0), ("slow", 7.0)]


def test_what_waits_for_the_end_of_a_moment_comes_before_time_goes_on() -> None:
    async def main() -> list[tuple[str, float]]:
        loop, seen = asyncio.get_running_loop(), []
        done = loop.create_future()

        def idle() -> None:
            seen.append(("idle", loop.time()))
            done.set_result(None)

        async def busy() -> None:
            for _ in range(5):
                await asyncio.sleep(0)
            seen.append(("busy", loop.time()))

        when_idle(idle)
        await asyncio.gather(busy(), done, asyncio.sleep(1.0))
        seen.append(("end", loop.time()))
        return seen

    assert run_virtual(main()) == [("busy", 0.0), ("idle", 0.0), ("end", 1.0)]


def test_a_deadlock_is_an_error_that_says_when() -> None:
    async def main() -> None:
        await asyncio.sleep(3.0)
        await asyncio.get_running_loop().create_future()

    with pytest.raises(SimulationStuck, match="virtual second 3"):
        run_virtual(main())


def test_what_is_left_behind_is_cancelled() -> None:
    ended: list[bool] = []

    async def main() -> None:
        async def forever() -> None:
            try:
                await asyncio.sleep(1e9)
            finally:
                ended.append(True)

        task = asyncio.create_task(forever())
        await asyncio.sleep(1.0)
        assert not task.done()

    run_virtual(main())
    assert ended == [True]


async def test_seconds_are_spent_in_virtual_time_only() -> None:
    with pytest.raises(RuntimeError, match="virtual time"):
        spend(1.0)
