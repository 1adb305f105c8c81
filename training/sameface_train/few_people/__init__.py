"""Fine-tunes the pretrained face network on few people: many changed copies of each photo, and a teacher.

The frozen part of the network is computed once for every copy (`copies`), so a training of the other part takes minutes
on a CPU (`learning`), and can be repeated in folds over people (`folds`).
"""
