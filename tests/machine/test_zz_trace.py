import sys
from tests.support.program import *
from tests.machine.test_hostile_machine import *
import pytest
@pytest.mark.parametrize("faults",[(),("--fault","rate_limited@2","--fault","internal_before@3","--fault","html_502_after@4","--fault","close_before@5","--fault","task_fails_outage@1","--fault","query_html@4","--fault","video_500@1","--fault","video_short@2","--fault","query_reset@3"),("--fault","task_fails_unsaid=1",)])
def test_x(desk, faults):
    for number in range(10):
        desk.write(f"in/{number}.png", make_png(seed=number))
    desk.write("m.yaml", FOLDER)
    with sandbox(desk.folder, *FAST, *faults) as server:
        desk.against(server).program = (sys.executable, "/tmp/fix1trace.py")
        p = desk.start("run", *QUICK, "--concurrency", "4", "m.yaml")
        out, err = p.communicate(timeout=60)
        print("CODE", p.returncode); print("\n".join(sorted(set(err.decode().splitlines() if isinstance(err, bytes) else err.splitlines()))))
