"""The rows that processes work on, by shard."""

import pytest
from django.db import IntegrityError

from pillarbox.models import SHARDS, Claim, Rendering


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("model", "constraint"),
    [(Claim, "pillarbox_claim_shard"), (Rendering, "pillarbox_rendering_shard")],
)
def test_rows_in_work_have_a_shard(model, constraint):
    """
    No claim and no rendering is outside the range of shards.
    """
    with pytest.raises(IntegrityError, match=constraint):
        model.objects.create(shard=SHARDS)
    assert "2 rows of shard 3" == str(model(shard=3, rows=[1, 2]))
