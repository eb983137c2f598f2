from django.contrib import admin

from .models import Project, Ticket


class TicketInline(admin.TabularInline):  # type: ignore[type-arg]  # not generic at run time
    model = Ticket
    fields = ["title", "status", "priority", "assignee"]
    extra = 0


@admin.register(Project)
class ProjectAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    list_display = ["name", "created", "modified"]
    search_fields = ["name"]
    filter_horizontal = ["members"]
    inlines = [TicketInline]


@admin.register(Ticket)
class TicketAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    list_display = ["title", "project", "status", "priority", "assignee", "modified"]
    list_filter = ["project", "status", "priority"]
    search_fields = ["title", "description"]
    autocomplete_fields = ["project"]
