from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Nobody waits for the indexes of a large table.
    atomic = False

    dependencies = [("outbox", "0007_causes_by_index_alone")]

    operations = [
        migrations.AddField(
            model_name="notificationoutbox",
            name="repeats",
            field=models.BigIntegerField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="replay",
            name="refusals",
            field=models.JSONField(db_default={}, default=dict),
        ),
        migrations.AddField(
            model_name="replay",
            name="hindrance",
            field=models.TextField(db_default="", default=""),
        ),
        migrations.AlterModelOptions(
            name="notificationoutbox",
            options={
                "permissions": [
                    ("replay_notificationoutbox", "Can replay failed notifications"),
                    ("resend_notificationoutbox", "Can resend published notifications"),
                ],
                "verbose_name": "notification",
            },
        ),
        AddIndexConcurrently(
            model_name="notificationoutbox",
            index=models.Index(
                "id",
                condition=models.Q(failed_at__isnull=False, replayed_at=None),
                name="outbox_replayable",
            ),
        ),
        AddIndexConcurrently(
            model_name="notificationoutbox",
            index=models.Index(
                "stream", "id", condition=models.Q(is_move=True), name="outbox_moves"
            ),
        ),
    ]
