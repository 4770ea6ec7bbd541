"""What processes of a cluster for one run import before they have anything to do: Ray Train.

Ray starts as many processes as there are processors as soon as it runs, and they would wait for the driver, which is
still importing. Every one that is used, a controller, a worker or their helper, needs what stands here, which has no
public name.
"""

from __future__ import annotations

from w2v2_ray.importing import no_collection

with no_collection():
    from w2v2_ray.orchestration.ray_private import train  # noqa: F401
