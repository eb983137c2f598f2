from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Nobody waits for the index of a large table.
    atomic = False

    dependencies = [("outbox", "0006_causes")]

    operations = [
        RemoveIndexConcurrently("notificationoutbox", "outbox_cause"),
        AddIndexConcurrently(
            model_name="notificationoutbox",
            index=models.Index(
                fields=["error_fingerprint", "failed_at"],
                include=["replayed_at", "object_type"],
                condition=models.Q(failed_at__isnull=False),
                name="outbox_cause",
            ),
        ),
    ]
