"""Variables that libraries read when a process starts: the memory allocator, and OpenMP."""

# What a job frees it takes again for the next batch of images. To have the system clear it in
# between made a pass of efficientnet-lite2 with all of its maps 1.4 times as long. The last is for
# passes in a thread: the memory that threads have of their own is too small for maps, which came
# from the system anew each time (a dump of efficientnet-lite0 took 1.1 times as long).
KEPT = 2**30  # bytes
ALLOCATOR = {
    "MALLOC_TRIM_THRESHOLD_": str(KEPT),
    "MALLOC_MMAP_THRESHOLD_": str(KEPT),
    "MALLOC_ARENA_MAX": "1",
}
# Between two loops the other threads sleep. By default they spin, and so take a core from what runs
# beside them: of the sums over images they made up half of all processor time.
THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}

AT_START = ALLOCATOR | THREADS
