import torch.distributed as dist

from lit_knn.distributed.gloo_groups import patient_group


def test_a_group_of_its_own_beside_that_of_the_networks(tmp_path):
    """Several processes wait in it in test_together.py, and ask each other in index/test_sharded.py."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        group = patient_group()
        assert dist.get_backend(group) == "gloo"
        answers = [None]
        dist.all_gather_object(answers, "here", group=group)
        assert answers == ["here"]
        dist.destroy_process_group(group)
    finally:
        dist.destroy_process_group()
